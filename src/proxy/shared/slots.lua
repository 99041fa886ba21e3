-- How many requests of one app a replica may have under way: it leases slots, for a while.
-- KEYS: the app's leases, a hash of replica to "slots until-when" (ms by Redis' clock).
-- ARGV: replica, slots of all replicas, of these in use here, wanted here, how long the lease holds (ms).
-- Returns how many this replica has, and how many nobody has. What is in use stays, as nobody can end it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replica, max, used, wanted, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local others = 0
local leases = redis.call('HGETALL', KEYS[1])
for i = 1, #leases, 2 do
    local slots, ends_at = string.match(leases[i + 1], '(%d+) (%d+)')
    if leases[i] ~= replica then
        -- What is further ahead than a lease was written before the clock was set back.
        if tonumber(ends_at) <= now or tonumber(ends_at) > now + lease then
            redis.call('HDEL', KEYS[1], leases[i])
        else
            others = others + tonumber(slots)
        end
    end
end

local leased = math.max(used, math.min(wanted, max - others))
if leased > 0 then
    redis.call('HSET', KEYS[1], replica, string.format('%d %d', leased, now + lease))
    redis.call('PEXPIRE', KEYS[1], lease)
else
    redis.call('HDEL', KEYS[1], replica)
end
return {leased, math.max(0, max - others - leased)}
