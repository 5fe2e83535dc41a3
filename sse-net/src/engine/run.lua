-- Renews, stops or finds a run, or returns runs whose lease has run out.
--
-- It has the keys of the run and of all runs by the ends of their leases, and the arguments:
--   'renew' and the token of the lease: returns 'held', 'stop' or 'lost';
--   'stop' and the topic's channel: returns 'stopped', or 'none' unless the run is running;
--   'find': returns 'running', 'kept', 'expired' or 'unknown';
--   'lost' and the beginning of the keys of runs: returns topics, each with the token.
local run, runs = unpack(KEYS)
local request = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if request == 'lost' then
    local found = {}
    local millis = string.format('%.0f', now)
    local over = redis.call('ZRANGEBYSCORE', runs, '-inf', '(' .. millis, 'LIMIT', 0, 64)
    for _, topic in ipairs(over) do
        local token = redis.call('HGET', ARGV[2] .. topic, 'token')
        if token then
            found[#found + 1] = topic
            found[#found + 1] = token
        else
            redis.call('ZREM', runs, topic)
        end
    end
    return found
end

local token, lease_end, lease, ended, keep, stop =
    unpack(redis.call('HMGET', run, 'token', 'until', 'lease', 'ended', 'keep', 'stop'))
local is_held = token and not ended and tonumber(lease_end) >= now
if request == 'renew' then
    if not is_held or token ~= ARGV[2] then
        return { 'lost' }
    end
    lease_end = string.format('%.0f', now + lease)
    redis.call('HSET', run, 'until', lease_end)
    redis.call('ZADD', runs, lease_end, string.match(run, ':run:(.*)$'))
    return { stop and 'stop' or 'held' }
elseif request == 'stop' then
    if not is_held then
        return { 'none' }
    end
    redis.call('HSET', run, 'stop', '1')
    redis.call('PUBLISH', ARGV[2], token .. ' ' .. token .. ' stop ')
    return { 'stopped' }
elseif not token then
    return { 'unknown' }
elseif not ended then
    return { 'running' }
end
return { now < ended + keep and 'kept' or 'expired' }
