#!lua name=sse_run
-- Renews, stops or finds a run, or returns runs whose lease has run out.
--
-- The function sse_run has the keys of the run and of all runs by the ends of their leases, and the
-- arguments:
--   'renew' and the token of the lease: returns 'held', 'stop' or 'lost';
--   'stop' and the topic's channel: returns 'stopped', or 'none' unless the run is running;
--   'find': returns 'running', 'kept', 'expired' or 'unknown';
--   'lost' and the beginnings of the keys of runs and of the names of topics: returns such topics,
--   each with the token, or with 0-0 if the run is lost.

local function lost(runs, prefix, name, now)
    local found = {}
    local millis = string.format('%.0f', now)
    -- Others may be there for ever, if no node has their settings any more.
    local over = redis.call('ZRANGEBYSCORE', runs, '-inf', '(' .. millis, 'LIMIT', 0, 10000)
    for _, topic in ipairs(over) do
        if string.sub(topic, 1, #name) == name and #found < 128 then
            local token = redis.pcall('HGET', prefix .. topic, 'token')
            -- The key of a run may be of another type, or not allowed.
            if type(token) ~= 'table' then
                found[#found + 1] = topic
                found[#found + 1] = token or '0-0'
            end
        end
    end
    return found
end

local function ask(keys, args)
    local run, runs = keys[1], keys[2]
    local request = args[1]
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if request == 'lost' then
        return lost(runs, args[2], args[3], now)
    end
    local token, lease_end, lease, ended, keep, stop =
        unpack(redis.call('HMGET', run, 'token', 'until', 'lease', 'ended', 'keep', 'stop'))
    local is_held = token and not ended and tonumber(lease_end) >= now
    if request == 'renew' then
        if not is_held or token ~= args[2] then
            return { 'lost' }
        end
        lease_end = string.format('%.0f', now + lease)
        redis.call('HSET', run, 'until', lease_end)
        -- The keys differ in what follows the hub's name: 'run:TOPIC' and 'runs'.
        redis.call('ZADD', runs, lease_end, string.sub(run, #runs + 1))
        return { stop and 'stop' or 'held' }
    elseif request == 'stop' then
        if not is_held then
            return { 'none' }
        end
        redis.call('HSET', run, 'stop', '1')
        redis.call('PUBLISH', args[2], token .. ' ' .. token .. ' stop ')
        return { 'stopped' }
    elseif not token then
        return { 'unknown' }
    elseif not ended then
        return { 'running' }
    end
    return { now < ended + keep and 'kept' or 'expired' }
end

-- A full memory ends no run.
redis.register_function({ function_name = 'sse_run', callback = ask, flags = { 'allow-oom' } })
