-- Appends events to a topic of a hub, ends a topic, or looks at the hub's last ID (a tick).
--
-- A publish has the keys meta, epochs, tips, changed, the topic's stream and, optionally, a key
-- under which it is stored once; and the arguments: a random number below 65536, the topic's
-- channel, the topic, the most events to keep (0: any), their age in milliseconds (0: any), the
-- age of the key, the age of topics that are forgotten (0: never), and one of these kinds:
--   'events' and a frame for each event;
--   'end', which ends the topic, and at most one frame;
--   'start' of a run: a text that is its owner's alone, and in milliseconds the age of its lease,
--   how long it is kept after its end, and how long it is remembered after that;
--   'value' or 'removal', the key in a keyed topic, the most keys and bytes of the topic, the age
--   of removals in milliseconds, and the frame.
-- 'events TOKEN' and 'end TOKEN' are refused unless the lease of the run has that token;
-- 'end !TOKEN' ends the run once its lease has run out.
--
-- It returns the ID of the last event, which is the token of a started run; the topic's last ID if
-- there is nothing to end or to remove; 0-0 if a run of that topic is running or kept. It refuses
-- with the errors FINISHED, FENCED, KEYED, NOTKEYED, 'FULL keys' and 'FULL bytes'. Keys of keyed
-- topics and of runs that are not given begin as the others.
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

local function later(one, other)
    local one_millis, one_sequence = parts(one)
    local other_millis, other_sequence = parts(other)
    local is_later = one_millis > other_millis
        or one_millis == other_millis and one_sequence > other_sequence
    return is_later and one or other
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
    local newest = redis.call('ZREVRANGE', changed, 0, 0, 'WITHSCORES')[2]
    if not last and newest then
        -- The meta key is lost and streams are left. So the epoch ended with the newest of them.
        local final = '0-0'
        for _, name in ipairs(redis.call('ZRANGEBYSCORE', changed, newest, newest)) do
            final = later(string.match(redis.call('HGET', tips, name) or '0-0', '^%S+'), final)
        end
        local _, number = parts(final)
        used[number % 65536] = true
        ended = text(0, number % 65536) .. ' ' .. final
    end
    while used[random] do
        random = (random + 1) % 65536
    end
    millis, sequence = math.max(now, millis + 1, (newest or 0) + 1), random
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
local kind, fence = string.match(ARGV[8], '^(%S+) ?(.*)$')
local prefix = string.sub(meta, 1, -5)
local tip = redis.call('HGET', tips, topic)
local before, state = string.match(tip or floor, '^(%S+)(.*)$')
local is_keyed = kind == 'value' or kind == 'removal'
local run = prefix .. 'run:' .. topic
if kind == 'start' then
    local owner, token, ended, keep =
        unpack(redis.call('HMGET', run, 'owner', 'token', 'ended', 'keep'))
    if owner and not ended then
        return owner == ARGV[9] and token or '0-0'
    elseif ended and now < ended + keep then
        return '0-0'
    end
elseif string.find(state, 'end', 1, true) then
    if kind == 'end' then
        return before
    end
    return redis.error_reply('FINISHED the topic has been finished')
end
if fence ~= '' then
    local token, lease_end = unpack(redis.call('HMGET', run, 'token', 'until'))
    local is_over = not lease_end or tonumber(lease_end) < now
    local is_late = string.sub(fence, 1, 1) == '!'
    if fence ~= (is_late and '!' or '') .. tostring(token) or is_over ~= is_late then
        return redis.error_reply('FENCED the lease of the run has run out')
    end
end
if tip and kind ~= 'end' and is_keyed ~= (state == ' keyed') then
    return redis.error_reply(is_keyed and 'NOTKEYED the topic is not keyed'
        or 'KEYED the topic is keyed')
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

-- Publishes the newest event of a key, and drops removals that are too old or for which there is
-- no room. Returns an error, or true if there is nothing to remove.
local function append_keyed(key, max_keys, max_bytes, removal_age, frame)
    local values, removals = prefix .. 'state:' .. topic, prefix .. 'removals:' .. topic
    local counted = redis.call('HGET', prefix .. 'keyed', topic) or before .. ' 0'
    local dropped, bytes = string.match(counted, '^(%S+) (%d+)$')
    local old = redis.call('HGET', values, key)
    local was_removal = old and string.find(old, '^%S+ removal\n')
    if kind == 'removal' and (not old or was_removal) then
        return true
    end
    local count = redis.call('HLEN', values)
    if old then
        bytes = bytes - #key - #old
    else
        count = count + 1
    end
    local size = #key + #frame + 40 -- A value begins with its ID.
    local names, index = {}, 0
    while index < 512 do
        local oldest = redis.call('ZRANGE', removals, index, index, 'WITHSCORES')
        local name, millis = oldest[1], tonumber(oldest[2])
        local is_full = kind == 'value' and (count > max_keys or bytes + size > max_bytes)
        if not name or not is_full and millis >= now - removal_age then
            break
        end
        if name ~= key then
            local removal = redis.call('HGET', values, name) or ''
            dropped = later(string.match(removal, '^%S+') or '0-0', dropped)
            count, bytes = count - 1, bytes - #name - #removal
            names[#names + 1] = name
        end
        index = index + 1
    end
    if kind == 'value' and count > max_keys then
        return redis.error_reply('FULL keys')
    elseif kind == 'value' and bytes + size > max_bytes then
        return redis.error_reply('FULL bytes')
    end
    append(frame, kind, key)
    for _, name in ipairs(names) do
        redis.call('HDEL', values, name)
        redis.call('ZREM', removals, name)
    end
    local value = id .. (kind == 'removal' and ' removal\n' or '\n') .. frame
    redis.call('HSET', values, key, value)
    if kind == 'removal' then
        redis.call('ZADD', removals, string.format('%.0f', millis), key)
    elseif was_removal then
        redis.call('ZREM', removals, key)
    end
    bytes = string.format('%.0f', bytes + #key + #value)
    redis.call('HSET', prefix .. 'keyed', topic, dropped .. ' ' .. bytes)
    state = ' keyed'
end

if kind == 'end' then
    append(ARGV[9] or '', 'end', '')
    state = state .. ' end'
    if fence ~= '' then
        local keep, remember = unpack(redis.call('HMGET', run, 'keep', 'remember'))
        redis.call('HSET', run, 'ended', string.format('%.0f', now))
        redis.call('PEXPIRE', run, string.format('%.0f', keep + remember))
        redis.call('ZREM', prefix .. 'runs', topic)
    end
elseif kind == 'start' then
    local lease_end = string.format('%.0f', now + ARGV[10])
    redis.call('UNLINK', stream, run)
    append('', 'begin', '')
    state = ''
    redis.call('HSET', run, 'token', id, 'owner', ARGV[9], 'until', lease_end, 'lease', ARGV[10],
        'keep', ARGV[11], 'remember', ARGV[12])
    redis.call('ZADD', prefix .. 'runs', lease_end, topic)
elseif is_keyed then
    local limits = { tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]) }
    local refused = append_keyed(ARGV[9], limits[1], limits[2], limits[3], ARGV[13])
    if refused then
        return refused == true and before or refused
    end
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
-- One publish of 16 looks for such topics, and forgets up to 32.
if forget > 0 and tonumber(ARGV[1]) % 16 == 0 then
    local idle = redis.call('ZRANGEBYSCORE', changed, '-inf', string.format('%.0f', now - forget),
        'LIMIT', 0, 32)
    for _, name in ipairs(idle) do
        local idle_tip = redis.call('HGET', tips, name) or '0-0'
        local values, removals = prefix .. 'state:' .. name, prefix .. 'removals:' .. name
        if string.find(idle_tip, 'keyed', 1, true)
            and redis.call('HLEN', values) > redis.call('ZCARD', removals) then
            -- It has keys, so it stays, and is looked at again later.
            redis.call('ZADD', changed, string.format('%.0f', now), name)
        else
            floor = later(string.match(idle_tip, '^%S+'), floor)
            redis.call('HSET', meta, 'floor', floor)
            redis.call('HDEL', tips, name)
            redis.call('HDEL', prefix .. 'keyed', name)
            redis.call('ZREM', changed, name)
            redis.call('UNLINK', prefix .. 'topic:' .. name, values, removals)
        end
    end
end
for _, message in ipairs(messages) do
    redis.call('PUBLISH', channel, message)
end
return id
