-- Appends events to a topic of a hub, ends a topic, or looks at the hub's last ID (a tick).
--
-- A publish has the keys meta, epochs, tips, changed, the topic's stream and, optionally, a key
-- under which it is stored once; and the arguments: a random number below 65536, the topic's
-- channel, the topic, the most events to keep (0: any), their age in milliseconds (0: any), the
-- age of the key, the age of topics that are forgotten (0: never), 'events' or, for the last event
-- of the topic, 'end', and one frame for each event. It returns the ID of the last event. A topic
-- that has ended refuses events with the error FINISHED.
--
-- A tick has the first four keys, and the arguments: a random number, the node's channel, a text
-- to recognise it by, the first ID of the epoch that the node knows, and '1' to take an ID.
local meta, epochs, tips, changed, stream, once = unpack(KEYS)
local random, channel = tonumber(ARGV[1]), ARGV[2]

if once then
    local stored = redis.call('GET', once)
    if stored then
        return stored
    end
end

local function text(millis, sequence)
    return string.format('%.0f-%.0f', millis, sequence)
end

local function parts(id)
    local millis, sequence = string.match(id, '^(%d+)-(%d+)')
    return tonumber(millis), tonumber(sequence)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- It changes whenever another server becomes the primary, and stays in no other case in which
-- events may have been lost. A node could only pass an old one.
local primary = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local known = redis.call('HMGET', meta, 'last', 'first', 'primary', 'floor')
local last, first, floor = known[1], known[2], known[4] or '0-0'
local millis, sequence, ended = 0, 0, nil
if last then
    millis, sequence = parts(last)
end
if not last or known[3] ~= primary then
    local used = {}
    for _, epoch in ipairs(redis.call('LRANGE', epochs, 0, -1)) do
        local _, number = parts(string.match(epoch, '^%S+'))
        used[number % 65536] = true
    end
    if last then
        used[sequence % 65536] = true
        ended = first .. ' ' .. last
    end
    while used[random] do
        random = (random + 1) % 65536
    end
    -- If the meta key is lost and streams are left, only this says how far they are.
    local newest = redis.call('ZREVRANGE', changed, 0, 0, 'WITHSCORES')[2] or 0
    millis, sequence = math.max(now, millis + 1, newest + 1), random
    first = text(millis, sequence)
end

local function take()
    if now > millis then
        millis, sequence = now, sequence % 65536
    else
        sequence = sequence + 65536
    end
    return text(millis, sequence)
end

local function store(id)
    if ended then
        redis.call('RPUSH', epochs, ended)
        redis.call('LTRIM', epochs, -1000, -1)
    end
    redis.call('HSET', meta, 'last', id, 'first', first, 'primary', primary)
end

if not stream then
    -- A write: a replica refuses it, and a full memory does not.
    redis.call('PERSIST', meta)
    local id = text(millis, sequence)
    if ARGV[5] == '1' then
        id = take()
    end
    if id ~= last then
        store(id)
    end
    local lines = { ARGV[3] .. ' ' .. id .. ' ' .. first }
    if first ~= ARGV[4] then
        for _, epoch in ipairs(redis.call('LRANGE', epochs, 0, -1)) do
            lines[#lines + 1] = epoch
        end
    end
    redis.call('PUBLISH', channel, table.concat(lines, '\n'))
    return id
end

local topic, max, age, once_age, forget = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local kind = ARGV[8]
local before, state = string.match(redis.call('HGET', tips, topic) or floor, '^(%S+)(.*)$')
if state == ' end' then
    if kind == 'end' then
        return before
    end
    return redis.error_reply('FINISHED the topic has been finished')
end

local messages, id = {}, nil
local function append(frame, ...)
    id = take()
    -- The first write: if it is refused, nothing is half done, because Redis rolls nothing back.
    if max == '0' then
        redis.call('XADD', stream, id, 'before', before, 'frame', frame, ...)
    else
        redis.call('XADD', stream, 'MAXLEN', '~', max, id, 'before', before, 'frame', frame, ...)
    end
    local message = table.concat({ before, id, ... }, ' ')
    if #frame <= 65536 then
        message = message .. '\n' .. frame
    end
    messages[#messages + 1] = message
    before = id
end

if kind == 'end' then
    append(ARGV[9] or '', 'end', '')
    state = ' end'
else
    for index = 9, #ARGV do
        append(ARGV[index])
    end
end
store(id)
redis.call('HSET', tips, topic, id .. state)
redis.call('ZADD', changed, string.format('%.0f', millis), topic)
if age ~= '0' then
    redis.call('XTRIM', stream, 'MINID', '~', text(math.max(now - age, 0), 0))
    redis.call('PEXPIRE', stream, age)
end
if once then
    redis.call('SET', once, id, 'PX', once_age)
end
if forget > 0 then
    local idle = redis.call('ZRANGEBYSCORE', changed, '-inf', string.format('%.0f', now - forget),
        'LIMIT', 0, 2)
    for _, name in ipairs(idle) do
        local tip = redis.call('HGET', tips, name)
        local tip_millis, tip_sequence = parts(tip or '0-0')
        local floor_millis, floor_sequence = parts(floor)
        if tip_millis > floor_millis
            or tip_millis == floor_millis and tip_sequence > floor_sequence then
            floor = text(tip_millis, tip_sequence)
        end
        redis.call('HSET', meta, 'floor', floor)
        redis.call('HDEL', tips, name)
        redis.call('ZREM', changed, name)
        redis.call('UNLINK', string.sub(stream, 1, #stream - #topic) .. name)
    end
end
for _, message in ipairs(messages) do
    redis.call('PUBLISH', channel, message)
end
return id
