#!lua name=sse_publish
-- Appends events to a topic of a hub, ends a topic, or looks at the hub's last ID (a tick).
--
-- The function sse_publish has the keys hub, epochs, changed, the topic's stream and, optionally, a
-- key under which it is stored once; and the arguments: a random number below 65536, the topic's
-- channel, the topic, the most events to keep, their age in milliseconds (0: any), the age of the
-- key, the time without events after which topics expire (0: never), and one of these kinds:
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
-- The function sse_tick has the first three keys, and the arguments: a random number, the node's
-- channel, a text to recognise it by, the first ID of the epoch that the node knows, and '1' to
-- take an ID.
--
-- An event finds the caches of the CPU full of other things, so each instruction counts: calls
-- that an event does not need are made once a second for a topic.

-- The replication ID with which this server has last written a hub's last ID. A server that is
-- started, or that receives the data of another one, loads this library anew and does not know it.
-- So it equals the one that a hub names only if this server has lost nothing of that hub since.
local written

-- How an integer and an ID are formatted.
local integer, pair

-- Functions that each event calls. The first does not exist yet while the library is loaded.
local call, format

-- The last ID that this server has stored, as a text and its parts. The next event mostly finds it
-- in its hub, and need not parse it.
local last_text, last_millis, last_sequence

local function text(millis, sequence)
    return format(pair, millis, sequence)
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

local function prefix_of(hub)
    return string.sub(hub.key, 1, -4)
end

-- Returns the last ID and the state of a topic whose last ID is lost with the key of the hub.
local function find(stream)
    local entry = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if entry and entry[2][1] == 'before' and entry[2][3] == 'frame' then
        local role = entry[2][5]
        return entry[1], role == 'end' and ' end' or role and role ~= 'begin' and ' keyed' or ''
    end
end

-- Ends the epoch of a hub whose key is lost, with the newest event that is left. All others count
-- as evicted.
local function recover(hub)
    local newest = call('ZREVRANGE', hub.changed, 0, 0, 'WITHSCORES')[2]
    if not newest then
        return
    end
    local final = '0-0'
    local names = call('ZREVRANGEBYSCORE', hub.changed, newest, newest - newest % 1000,
        'LIMIT', 0, 1000)
    for _, name in ipairs(names) do
        -- Another program may have written its key.
        local is_stream, id = pcall(find, prefix_of(hub) .. 'topic:' .. name)
        final = later(is_stream and id or '0-0', final)
    end
    hub.millis, hub.sequence = newest + 1000, select(2, parts(final))
    hub.ended = text(0, hub.sequence % 65536) .. ' ' .. final
    hub.floor = final
end

-- Begins an epoch ahead of the last ID, or of all topics if that is lost.
local function begin_epoch(hub, random)
    if hub.last then
        hub.ended = call('HGET', hub.key, 'first') .. ' ' .. hub.last
    else
        recover(hub)
    end
    local used = { [hub.sequence % 65536] = true }
    for _, epoch in ipairs(call('LRANGE', hub.epochs, 0, -1)) do
        local _, number = parts(string.match(epoch, '^%S+'))
        used[number % 65536] = true
    end
    while used[random] do
        random = (random + 1) % 65536
    end
    hub.millis, hub.sequence = math.max(hub.now, hub.millis + 1), random
    hub.first = text(hub.millis, random)
end

local function initialize()
    call, format = redis.call, string.format
    -- The faster way is right where a C long has 64 bits.
    integer = format('%d', 2 ^ 40) == '1099511627776' and '%d' or '%.0f'
    pair = integer .. '-' .. integer
end

-- Returns the hub's last ID, the time, and a field of the hub. Begins an epoch if events may have
-- been lost.
local function open(keys, random, field)
    local time = call('TIME')
    local known = call('HMGET', keys[1], 'last', 'primary', field)
    local last, primary = known[1], known[2]
    local hub = {
        key = keys[1], epochs = keys[2], changed = keys[3],
        now = time[1] * 1000 + math.floor(time[2] / 1000),
        last = last, field = known[3], millis = 0, sequence = 0,
    }
    if last and last == last_text then
        hub.millis, hub.sequence = last_millis, last_sequence
    elseif last then
        hub.millis, hub.sequence = parts(last)
    end
    if not last or primary ~= written then
        -- It changes whenever another server becomes the primary, and stays in no other case in
        -- which events may have been lost. A node could only pass an old one.
        local replication = call('INFO', 'replication')
        hub.primary = string.match(replication, 'master_replid:(%x+)')
        if not last or primary ~= hub.primary then
            begin_epoch(hub, tonumber(random))
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

-- Stores the hub's last ID, and other fields.
local function store(hub, id, ...)
    if hub.ended then
        call('RPUSH', hub.epochs, hub.ended)
        call('LTRIM', hub.epochs, -1000, -1)
    end
    if hub.first then
        call('HSET', hub.key, 'first', hub.first, 'primary', hub.primary)
    end
    if hub.floor then
        call('HSET', hub.key, 'floor', hub.floor)
    end
    call('HSET', hub.key, 'last', id, ...)
    written = hub.primary or written
    last_text, last_millis, last_sequence = id, hub.millis, hub.sequence
end

local function tick(keys, args)
    if not call then
        initialize()
    end
    local hub = open(keys, args[1], 'first')
    local id = text(hub.millis, hub.sequence)
    if args[5] == '1' then
        id = take(hub)
    end
    if id ~= hub.last then
        store(hub, id)
    end
    local first = hub.first or hub.field
    local lines = { args[3] .. ' ' .. id .. ' ' .. first }
    if first ~= args[4] then
        for _, epoch in ipairs(call('LRANGE', hub.epochs, 0, -1)) do
            lines[#lines + 1] = epoch
        end
    end
    call('PUBLISH', args[2], table.concat(lines, '\n'))
    return id
end

-- Refuses events in the topic of a run that are not its owner's, and those of a lost lease.
local function check_lease(run, kind, fence, state, now)
    if fence == '' then
        local is_owned = state == ' run'
        if state == ' new' then -- It may have expired.
            local token, ended = unpack(call('HMGET', run, 'token', 'ended'))
            is_owned = token and not ended
        end
        return is_owned and redis.error_reply('OWNED the topic is one of a run')
    end
    local is_late = string.sub(fence, 2, 2) == '!'
    local expected = string.sub(fence, is_late and 3 or 2)
    local token, lease_end = unpack(call('HMGET', run, 'token', 'until'))
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
local function append(hub, batch, frame, role, key)
    local id, before = take(hub), batch.before
    local message = before .. ' ' .. id
    -- The first write: if it is refused, nothing is half done, because Redis rolls nothing back.
    if role then
        call('XADD', batch.stream, 'MAXLEN', '~', batch.max, id,
            'before', before, 'frame', frame, role, key)
        message = message .. ' ' .. role .. ' ' .. key
    else
        call('XADD', batch.stream, 'MAXLEN', '~', batch.max, id,
            'before', before, 'frame', frame)
    end
    if #frame <= 65536 then
        message = message .. '\n' .. frame
    end
    batch[#batch + 1] = message
    batch.before = id
    return id
end

-- Appends the newest event of a key, and drops removals that are too old or for which there is
-- no room. Returns an error, or true if there is nothing to remove.
local function append_keyed(hub, batch, topic, kind, args)
    local key, max_keys, max_bytes, removal_age, frame =
        args[9], tonumber(args[10]), tonumber(args[11]), tonumber(args[12]), args[13]
    local prefix = prefix_of(hub)
    local values = prefix .. 'state:' .. topic
    local removals = prefix .. 'removals:' .. topic
    local counted = call('HGET', prefix .. 'keyed', topic)
    local dropped, bytes = string.match(counted or batch.before .. ' 0', '^(%S+) (%d+)$')
    local old = call('HGET', values, key)
    local was_removal = old and string.find(old, '^%S+ removal\n')
    if kind == 'removal' and (not old or was_removal) then
        return true
    end
    local count = call('HLEN', values)
    if old then
        bytes = bytes - #key - #old
    else
        count = count + 1
    end
    local size = #key + #frame + 40 -- A value begins with its ID.
    local names, index = {}, 0
    while index < 512 do
        local oldest = call('ZRANGE', removals, index, index, 'WITHSCORES')
        local name, millis = oldest[1], tonumber(oldest[2])
        local is_full = kind == 'value' and (count > max_keys or bytes + size > max_bytes)
        if not name or not is_full and millis >= hub.now - removal_age then
            break
        end
        if name ~= key then
            local removal = call('HGET', values, name) or ''
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
        call('HDEL', values, name)
        call('ZREM', removals, name)
    end
    local value = id .. (kind == 'removal' and ' removal\n' or '\n') .. frame
    call('HSET', values, key, value)
    if kind == 'removal' then
        call('ZADD', removals, format(integer, hub.millis), key)
    elseif was_removal then
        call('ZREM', removals, key)
    end
    bytes = format(integer, bytes + #key + #value)
    call('HSET', prefix .. 'keyed', topic, dropped .. ' ' .. bytes)
end

-- Removes a topic without events, and returns false if it stays because it has keys.
local function remove(hub, prefix, name)
    local field = 'topic:' .. name
    local tip = call('HGET', hub.key, field) or '0-0'
    local values, removals = prefix .. 'state:' .. name, prefix .. 'removals:' .. name
    if string.find(tip, 'keyed', 1, true)
        and call('HLEN', values) > call('ZCARD', removals) then
        return false
    end
    local floor = call('HGET', hub.key, 'floor') or '0-0'
    call('UNLINK', prefix .. field, values, removals)
    call('HSET', hub.key, 'floor', later(string.match(tip, '^%S+'), floor))
    call('HDEL', hub.key, field)
    call('HDEL', prefix .. 'keyed', name)
    call('ZREM', hub.changed, name)
    return true
end

-- Removes up to 32 topics without events for a time.
local function expire(hub, age)
    local prefix = prefix_of(hub)
    local idle = call('ZRANGEBYSCORE', hub.changed, '-inf',
        format(integer, hub.now - age), 'LIMIT', 0, 32)
    for _, name in ipairs(idle) do
        -- Its keys may be of other types, or not allowed. The event of another topic is stored.
        local is_done, is_removed = pcall(remove, hub, prefix, name)
        if not (is_done and is_removed) then
            -- It is looked at again later.
            call('ZADD', hub.changed, format(integer, hub.now), name)
        end
    end
end

-- Does for a topic what is needed once a second only.
local function note_second(hub, stream, topic, age, expiry, random)
    call('ZADD', hub.changed, format(integer, hub.millis), topic)
    if age ~= '0' then
        call('XTRIM', stream, 'MINID', '~', text(math.max(hub.now - age, 0), 0))
        call('PEXPIRE', stream, format(integer, age + 1000))
    end
    -- One call of 16 looks for such topics.
    if expiry ~= '0' and random % 16 == 0 then
        expire(hub, expiry)
    end
end

-- Ends a topic, and its run if it is one of a run.
local function finish(hub, batch, topic, frame, fence)
    append(hub, batch, frame, 'end', '')
    if fence ~= '' then
        local run = prefix_of(hub) .. 'run:' .. topic
        local keep, remember = unpack(call('HMGET', run, 'keep', 'remember'))
        if keep then
            call('HSET', run, 'ended', format(integer, hub.now))
            call('PEXPIRE', run, format(integer, keep + remember))
        end
        call('ZREM', prefix_of(hub) .. 'runs', topic)
    end
end

local function keyed_error(is_keyed)
    return redis.error_reply(is_keyed and 'NOTKEYED the topic is not keyed'
        or 'KEYED the topic is keyed')
end

-- Starts a run, or returns its token if this owner has started it, or 0-0 if there is another one.
local function start(hub, batch, topic, state, args)
    local run = prefix_of(hub) .. 'run:' .. topic
    local owner, token, ended, keep =
        unpack(call('HMGET', run, 'owner', 'token', 'ended', 'keep'))
    if owner and not ended then
        return owner == args[9] and token or '0-0'
    elseif ended and hub.now < ended + keep then
        return '0-0'
    elseif state == ' keyed' then
        return keyed_error(false)
    end
    local lease_end = format(integer, hub.now + args[10])
    call('UNLINK', batch.stream, run)
    token = append(hub, batch, '', 'begin', '')
    call('HSET', run, 'token', token, 'owner', args[9], 'until', lease_end,
        'lease', args[10], 'keep', args[11], 'remember', args[12])
    call('ZADD', prefix_of(hub) .. 'runs', lease_end, topic)
end

-- Refuses what a topic in its state does not take. Returns an error, or the topic's last ID if it
-- is to be ended and has been.
local function check(hub, topic, kind, fence, state, before)
    if string.find(state, 'end', 1, true) then
        if kind == 'end' then
            call('ZREM', prefix_of(hub) .. 'runs', topic)
            return before
        end
        return redis.error_reply('FINISHED the topic has been finished')
    end
    local refused = check_lease(prefix_of(hub) .. 'run:' .. topic, kind, fence, state, hub.now)
    if refused and fence == ' !0-0' then
        call('ZREM', prefix_of(hub) .. 'runs', topic)
    end
    local is_keyed = kind == 'value' or kind == 'removal'
    if not refused and state ~= ' new' and kind ~= 'end' and is_keyed ~= (state == ' keyed') then
        refused = keyed_error(is_keyed)
    end
    return refused
end

local function publish(keys, args)
    if not call then
        initialize()
    end
    local stream, once, topic = keys[4], keys[5], args[3]
    local stored = once and call('GET', once)
    if stored then
        return stored
    end
    local field = 'topic:' .. topic
    local hub = open(keys, args[1], field)
    local before, state
    if hub.field then
        before, state = split(hub.field)
    else
        before, state = find(stream)
        if not before then
            before, state = hub.floor or call('HGET', hub.key, 'floor') or '0-0', ' new'
        end
    end
    local kind, fence = split(args[8])
    local batch = { stream = stream, max = args[4], before = before }
    local result
    if kind == 'start' then
        result = start(hub, batch, topic, state, args)
    elseif kind ~= 'events' or state ~= '' or fence ~= '' then
        result = check(hub, topic, kind, fence, state, before)
    end
    if result then
        return result
    end
    local is_new = state == ' new' or kind == 'start'
    -- The state may be lost, but not that of a topic whose run continues.
    state = fence ~= '' and ' run' or state == ' new' and '' or state
    if kind == 'events' then
        for index = 9, #args do
            append(hub, batch, args[index])
        end
    elseif kind == 'end' then
        finish(hub, batch, topic, args[9] or '', fence)
        state = state .. ' end'
    elseif kind == 'start' then
        state = ' run'
    elseif kind ~= 'value' and kind ~= 'removal' then
        return redis.error_reply('ERR unknown kind of event')
    else
        result = append_keyed(hub, batch, topic, kind, args)
        if result then
            return result == true and before or result
        end
        state = ' keyed'
    end
    local id = batch.before
    if id == before then
        return id -- There is no frame.
    end
    store(hub, id, field, id .. state)
    -- Ten digits are seconds, up to the year 2286. A clock that has stepped back is behind the IDs.
    local is_second = string.sub(before, 1, 10) ~= string.sub(id, 1, 10)
    if is_new or is_second or hub.now < hub.millis then
        note_second(hub, stream, topic, args[5], args[7], args[1])
    end
    if once then
        call('SET', once, id, 'PX', args[6])
    end
    for index = 1, #batch do
        call('PUBLISH', args[2], batch[index])
    end
    return id
end

redis.register_function('sse_publish', publish)
-- A full memory allows it. A replica does not, because it has no flag 'no-writes'.
redis.register_function({ function_name = 'sse_tick', callback = tick, flags = { 'allow-oom' } })
