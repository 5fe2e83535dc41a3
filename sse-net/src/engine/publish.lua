#!lua name=sse_publish
-- Appends events to a topic of a hub, ends a topic, or looks at the hub's last ID (a tick).
--
-- The function sse_publish has the keys meta, epochs, tips, changed, the topic's stream and,
-- optionally, a key under which it is stored once; and the arguments: a random number below 65536,
-- the topic's channel, the topic, the most events to keep (0: any), their age in milliseconds
-- (0: any), the age of the key, the age of topics that are forgotten (0: never), and one of these
-- kinds:
--   'events' and a frame for each event;
--   'end', which ends the topic, and at most one frame;
--   'start' of a run: a text that is its owner's alone, and in milliseconds the age of its lease,
--   how long it is kept after its end, and how long it is remembered after that;
--   'value' or 'removal', the key in a keyed topic, the most keys and bytes of the topic, the age
--   of removals in milliseconds, and the frame.
-- The topic of a run takes only 'events TOKEN' and 'end TOKEN', which are refused unless the lease
-- of the run has that token; 'end !TOKEN' ends the run once its lease has run out or is lost.
--
-- It returns the ID of the last event, which is the token of a started run; the topic's last ID if
-- there is nothing to end or to remove; 0-0 if a run of that topic is running or kept. It refuses
-- with the errors FINISHED, FENCED, OWNED, KEYED, NOTKEYED, 'FULL keys' and 'FULL bytes'. Keys of
-- keyed topics and of runs that are not given begin as the others.
--
-- The function sse_tick has the first four keys, and the arguments: a random number, the node's
-- channel, a text to recognise it by, the first ID of the epoch that the node knows, and '1' to
-- take an ID.

-- The replication ID with which this server has last written a hub's last ID. A server that is
-- started, or that receives the data of another one, loads this library anew and does not know it.
-- So it equals the one that a hub names only if this server has lost nothing of that hub since.
local written

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

-- Splits a text at its first space, which the second part begins with.
local function split(words)
    local space = string.find(words, ' ', 1, true)
    if space then
        return string.sub(words, 1, space - 1), string.sub(words, space)
    end
    return words, ''
end

-- Begins an epoch ahead of the last ID and of the newest time of a topic.
local function begin_epoch(hub, random)
    local used = {}
    for _, epoch in ipairs(redis.call('LRANGE', hub.epochs, 0, -1)) do
        local _, number = parts(string.match(epoch, '^%S+'))
        used[number % 65536] = true
    end
    if hub.last then
        used[hub.sequence % 65536] = true
        hub.ended = hub.first .. ' ' .. hub.last
    end
    local newest = redis.call('ZREVRANGE', hub.changed, 0, 0, 'WITHSCORES')[2]
    if not hub.last and newest then
        -- The meta key is lost and streams are left. So the epoch ended with the newest of them.
        local final = '0-0'
        for _, name in ipairs(redis.call('ZRANGEBYSCORE', hub.changed, newest, newest)) do
            final = later(string.match(redis.call('HGET', hub.tips, name) or '0-0', '^%S+'), final)
        end
        local _, number = parts(final)
        used[number % 65536] = true
        hub.ended = text(0, number % 65536) .. ' ' .. final
    end
    while used[random] do
        random = (random + 1) % 65536
    end
    hub.millis = math.max(hub.now, hub.millis + 1, (newest or 0) + 1)
    hub.sequence = random
    hub.first, hub.is_new = text(hub.millis, random), true
end

-- Returns the hub's last ID and the time, in a new epoch if events may have been lost.
local function open(keys, random)
    local time = redis.call('TIME')
    local known = redis.call('HMGET', keys[1], 'last', 'first', 'primary', 'floor')
    local hub = {
        meta = keys[1], epochs = keys[2], tips = keys[3], changed = keys[4],
        now = time[1] * 1000 + math.floor(time[2] / 1000),
        last = known[1], first = known[2], primary = known[3], floor = known[4] or '0-0',
        millis = 0, sequence = 0,
    }
    if hub.last then
        hub.millis, hub.sequence = parts(hub.last)
    end
    if not hub.last or hub.primary ~= written then
        -- It changes whenever another server becomes the primary, and stays in no other case in
        -- which events may have been lost. A node could only pass an old one.
        local replication = redis.call('INFO', 'replication')
        local primary = string.match(replication, 'master_replid:(%x+)')
        if not hub.last or hub.primary ~= primary then
            begin_epoch(hub, tonumber(random))
            hub.primary = primary
        end
    end
    return hub
end

-- Takes the next ID of the hub.
local function take(hub)
    if hub.now > hub.millis then
        hub.millis, hub.sequence = hub.now, hub.sequence % 65536
    else
        hub.sequence = hub.sequence + 65536
    end
    return text(hub.millis, hub.sequence)
end

-- Stores the hub's last ID.
local function store(hub, id)
    if hub.ended then
        redis.call('RPUSH', hub.epochs, hub.ended)
        redis.call('LTRIM', hub.epochs, -1000, -1)
    end
    if hub.primary == written and not hub.is_new then
        redis.call('HSET', hub.meta, 'last', id)
    else
        redis.call('HSET', hub.meta, 'last', id, 'first', hub.first, 'primary', hub.primary)
        written = hub.primary
    end
end

local function tick(keys, args)
    local hub = open(keys, args[1])
    -- A write: a replica refuses it, and a full memory does not.
    redis.call('PERSIST', hub.meta)
    local id = text(hub.millis, hub.sequence)
    if args[5] == '1' then
        id = take(hub)
    end
    if id ~= hub.last then
        store(hub, id)
    end
    local lines = { args[3] .. ' ' .. id .. ' ' .. hub.first }
    if hub.first ~= args[4] then
        for _, epoch in ipairs(redis.call('LRANGE', hub.epochs, 0, -1)) do
            lines[#lines + 1] = epoch
        end
    end
    redis.call('PUBLISH', args[2], table.concat(lines, '\n'))
    return id
end

-- Refuses events in the topic of a run that are not its owner's, and those of a lost lease.
local function check_lease(run, kind, fence, state, now)
    if fence == '' then
        return state == ' run' and redis.error_reply('OWNED the topic is one of a run')
    end
    local is_late = string.sub(fence, 2, 2) == '!'
    local expected = string.sub(fence, is_late and 3 or 2)
    local token, lease_end = unpack(redis.call('HMGET', run, 'token', 'until'))
    local is_allowed
    if token then
        is_allowed = token == expected and (tonumber(lease_end) < now) == is_late
    else
        -- The run is lost. Its topic is ended, by its owner or any other node.
        is_allowed = kind == 'end' and (state == ' run' or state == ' new')
    end
    return not is_allowed and redis.error_reply('FENCED the lease of the run has run out')
end

-- Appends an event to the stream of the batch, and keeps its notification for later.
local function append(hub, batch, frame, ...)
    local id = take(hub)
    -- The first write: if it is refused, nothing is half done, because Redis rolls nothing back.
    if batch.max == '0' then
        redis.call('XADD', batch.stream, id, 'before', batch.before, 'frame', frame, ...)
    else
        redis.call('XADD', batch.stream, 'MAXLEN', '~', batch.max, id,
            'before', batch.before, 'frame', frame, ...)
    end
    local message = table.concat({ batch.before, id, ... }, ' ')
    if #frame <= 65536 then
        message = message .. '\n' .. frame
    end
    batch[#batch + 1] = message
    batch.before = id
    return id
end

-- Appends the newest event of a key, and drops removals that are too old or for which there is
-- no room. Returns an error, or true if there is nothing to remove.
local function append_keyed(hub, batch, kind, args)
    local key, max_keys, max_bytes, removal_age, frame =
        args[9], tonumber(args[10]), tonumber(args[11]), tonumber(args[12]), args[13]
    local values = batch.prefix .. 'state:' .. batch.topic
    local removals = batch.prefix .. 'removals:' .. batch.topic
    local counted = redis.call('HGET', batch.prefix .. 'keyed', batch.topic)
    local dropped, bytes = string.match(counted or batch.before .. ' 0', '^(%S+) (%d+)$')
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
        if not name or not is_full and millis >= hub.now - removal_age then
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
    local id = append(hub, batch, frame, kind, key)
    for _, name in ipairs(names) do
        redis.call('HDEL', values, name)
        redis.call('ZREM', removals, name)
    end
    local value = id .. (kind == 'removal' and ' removal\n' or '\n') .. frame
    redis.call('HSET', values, key, value)
    if kind == 'removal' then
        redis.call('ZADD', removals, string.format('%.0f', hub.millis), key)
    elseif was_removal then
        redis.call('ZREM', removals, key)
    end
    bytes = string.format('%.0f', bytes + #key + #value)
    redis.call('HSET', batch.prefix .. 'keyed', batch.topic, dropped .. ' ' .. bytes)
end

-- Forgets up to 32 topics without events since an age.
local function forget(hub, prefix, age)
    local idle = redis.call('ZRANGEBYSCORE', hub.changed, '-inf',
        string.format('%.0f', hub.now - age), 'LIMIT', 0, 32)
    for _, name in ipairs(idle) do
        local tip = redis.call('HGET', hub.tips, name) or '0-0'
        local values, removals = prefix .. 'state:' .. name, prefix .. 'removals:' .. name
        if string.find(tip, 'keyed', 1, true)
            and redis.call('HLEN', values) > redis.call('ZCARD', removals) then
            -- It has keys, so it stays, and is looked at again later.
            redis.call('ZADD', hub.changed, string.format('%.0f', hub.now), name)
        else
            hub.floor = later(string.match(tip, '^%S+'), hub.floor)
            redis.call('HSET', hub.meta, 'floor', hub.floor)
            redis.call('HDEL', hub.tips, name)
            redis.call('HDEL', prefix .. 'keyed', name)
            redis.call('ZREM', hub.changed, name)
            redis.call('UNLINK', prefix .. 'topic:' .. name, values, removals)
        end
    end
end

local function publish(keys, args)
    local once = keys[6]
    if once then
        local stored = redis.call('GET', once)
        if stored then
            return stored
        end
    end
    local hub = open(keys, args[1])
    local topic, age = args[3], args[5]
    local kind, fence = split(args[8])
    local before, state = split(redis.call('HGET', hub.tips, topic) or hub.floor .. ' new')
    local batch = { stream = keys[5], topic = topic, max = args[4], before = before }
    batch.prefix = string.sub(hub.meta, 1, -5)
    local is_keyed = kind == 'value' or kind == 'removal'
    local run = batch.prefix .. 'run:' .. topic
    if kind == 'start' then
        local owner, token, ended, keep =
            unpack(redis.call('HMGET', run, 'owner', 'token', 'ended', 'keep'))
        if owner and not ended then
            return owner == args[9] and token or '0-0'
        elseif ended and hub.now < ended + keep then
            return '0-0'
        end
    elseif string.find(state, 'end', 1, true) then
        if kind == 'end' then
            redis.call('ZREM', batch.prefix .. 'runs', topic)
            return before
        end
        return redis.error_reply('FINISHED the topic has been finished')
    else
        local refused = check_lease(run, kind, fence, state, hub.now)
        if refused then
            if fence == ' !0-0' then
                redis.call('ZREM', batch.prefix .. 'runs', topic)
            end
            return refused
        end
    end
    if state == ' new' then
        state = ''
    elseif kind ~= 'end' and is_keyed ~= (state == ' keyed') then
        return redis.error_reply(is_keyed and 'NOTKEYED the topic is not keyed'
            or 'KEYED the topic is keyed')
    end
    if kind == 'end' then
        append(hub, batch, args[9] or '', 'end', '')
        state = state .. ' end'
        if fence ~= '' then
            local keep, remember = unpack(redis.call('HMGET', run, 'keep', 'remember'))
            if keep then
                redis.call('HSET', run, 'ended', string.format('%.0f', hub.now))
                redis.call('PEXPIRE', run, string.format('%.0f', keep + remember))
            end
            redis.call('ZREM', batch.prefix .. 'runs', topic)
        end
    elseif kind == 'start' then
        local lease_end = string.format('%.0f', hub.now + args[10])
        redis.call('UNLINK', keys[5], run)
        local token = append(hub, batch, '', 'begin', '')
        state = ' run'
        redis.call('HSET', run, 'token', token, 'owner', args[9], 'until', lease_end,
            'lease', args[10], 'keep', args[11], 'remember', args[12])
        redis.call('ZADD', batch.prefix .. 'runs', lease_end, topic)
    elseif is_keyed then
        local refused = append_keyed(hub, batch, kind, args)
        if refused then
            return refused == true and before or refused
        end
        state = ' keyed'
    else
        for index = 9, #args do
            append(hub, batch, args[index])
        end
    end
    local id = batch.before
    store(hub, id)
    redis.call('HSET', hub.tips, topic, id .. state)
    redis.call('ZADD', hub.changed, string.format('%.0f', hub.millis), topic)
    if age ~= '0' then
        redis.call('XTRIM', keys[5], 'MINID', '~', text(math.max(hub.now - age, 0), 0))
        redis.call('PEXPIRE', keys[5], age)
    end
    if once then
        redis.call('SET', once, id, 'PX', args[6])
    end
    -- One publish of 16 looks for such topics.
    if args[7] ~= '0' and tonumber(args[1]) % 16 == 0 then
        forget(hub, batch.prefix, args[7])
    end
    for _, message in ipairs(batch) do
        redis.call('PUBLISH', args[2], message)
    end
    return id
end

redis.register_function('sse_publish', publish)
redis.register_function({ function_name = 'sse_tick', callback = tick, flags = { 'allow-oom' } })
