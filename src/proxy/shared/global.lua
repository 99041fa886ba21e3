-- What all apps of all replicas together may send: one GCRA, and while the SaaS answers 429 or 503 a lower rate in
-- front of it, which rises by itself (AIMD; the same rules as in proxy/global/throttle.rs, for all replicas together).
-- KEYS: the limit (when its burst is whole, us since EPOCH), the throttle (a hash), the replicas (a hash of replica to
-- "waiting sent busy busy-count at").
-- ARGV: replica; us from one cell to the next; burst; cells wanted (below zero: given back); how many wait here; sent
-- by the second here; of these answered with 429 or 503, and how many that were of late; then of such an answer: how
-- long ago its request was sent (us; below zero: there was none), whether it was a 429, whether others were answered
-- well since, and for how long nothing should be sent (us).
-- Returns cells; how long until the burst is whole; how long until the throttle lets one through (us); its rate
-- (thousandths by the second; 0: none); since when it has been (us).
local EPOCH, LATE, SETTLE, FRESH = 1700000000, 50000, 250000, 2000000
local RISE, FLOOR, FIRST, MANY, SHARE, KEPT, HALF_LIFE, MOST = 0.1, 1, 100, 2, 0.05, 0.8, 30000000, 0.5
local time = redis.call('TIME')
local now = (time[1] - EPOCH) * 1000000 + time[2]
local replica = ARGV[1]
local function number(at) return tonumber(ARGV[at]) end
local period, burst, wanted, waiting = number(2), number(3), number(4), number(5)
local sent, busy, busy_count = number(6), number(7), number(8)
local sent_ago, too_many, others_served, pause = number(9), number(10) == 1, number(11) == 1, number(12)

local waiting_elsewhere = 0
local replicas = redis.call('HGETALL', KEYS[3])
for i = 1, #replicas, 2 do
    local fields = {}
    for field in string.gmatch(replicas[i + 1], '%S+') do
        fields[#fields + 1] = tonumber(field)
    end
    if replicas[i] ~= replica then
        if math.abs(now - fields[5]) > FRESH then
            redis.call('HDEL', KEYS[3], replicas[i])
        else
            waiting_elsewhere = waiting_elsewhere + fields[1]
            sent, busy, busy_count = sent + fields[2], busy + fields[3], busy_count + fields[4]
        end
    end
end
redis.call('HSET', KEYS[3], replica,
    string.format('%d %.17g %.17g %d %.17g', waiting, number(6), number(7), number(8), now))
redis.call('PEXPIRE', KEYS[3], 10000)

-- The throttle: none, or {since, too_much, low, served, free_at}.
local throttle
local stored = redis.call('HMGET', KEYS[2], 'since', 'too_much', 'low', 'served', 'free_at')
if stored[1] then
    throttle = {since = math.min(tonumber(stored[1]), now), too_much = tonumber(stored[2]), low = tonumber(stored[3]),
        served = tonumber(stored[4]), free_at = tonumber(stored[5])}
end
local function rate()
    return throttle.low + RISE * throttle.too_much * (now - throttle.since) / 1000000
end
local changed = false
if throttle and rate() >= 2 * throttle.too_much then
    throttle, changed = nil, true
end
if sent_ago >= 0 then
    local share = math.min(1, busy / math.max(sent, 1e-9))
    local served = math.max(0, sent - busy)
    local too_much
    if pause > 0 or (busy_count >= MANY and share >= SHARE) then
        if not throttle then
            too_much = math.max(sent, FIRST)
        elseif now - sent_ago >= throttle.since and now >= throttle.since + SETTLE and (too_many or others_served) then
            too_much = rate()
            if share < MOST then
                served = math.max(served, throttle.served * 0.5 ^ ((now - throttle.since) / HALF_LIFE))
            end
        end
    end
    if too_much then
        local low = math.max(math.min(math.max(too_much / 2, served * KEPT), too_much), FLOOR)
        local free_at = math.max(throttle and throttle.free_at or now, now + 1000000 / low)
        throttle = {since = now, too_much = too_much, low = low, served = served, free_at = free_at}
        changed = true
    end
    if throttle then
        throttle.free_at = math.max(throttle.free_at, now + pause)
        changed = true
    end
end

local tolerance = period * (burst - 1)
local whole_at = math.min(tonumber(redis.call('GET', KEYS[1]) or 0), now + period * burst)
-- What somebody waited for and is handed out a little late is not lost.
whole_at = math.max(whole_at, waiting > 0 and math.min(now, now + tolerance - LATE) or now)

local cells = wanted
if wanted > 0 then
    local room = now - whole_at + tolerance + math.min(1, period / 100)
    local there = math.max(0, math.floor(room / period) + 1)
    if throttle then
        throttle.free_at = math.max(throttle.free_at, now - LATE)
        local through = math.floor((now - throttle.free_at) * rate() / 1000000 + 0.001) + 1
        there = math.min(there, math.max(0, through))
    end
    if there < wanted + waiting_elsewhere and waiting_elsewhere > 0 then
        -- In proportion to what each has waiting; nothing ahead while somebody waits.
        there = math.ceil(there * waiting / (waiting + waiting_elsewhere))
        wanted = math.min(wanted, waiting)
    end
    cells = math.min(wanted, there)
end
if cells ~= 0 then
    whole_at = math.max(whole_at + cells * period, cells < 0 and now or 0)
    redis.call('SET', KEYS[1], string.format('%.17g', whole_at), 'PX', math.ceil(math.max(0, whole_at - now) / 1000) + 1000)
    if throttle then
        throttle.free_at = throttle.free_at + cells * 1000000 / rate()
        changed = true
    end
end

if changed then
    if throttle then
        for _, field in ipairs({'since', 'too_much', 'low', 'served', 'free_at'}) do
            redis.call('HSET', KEYS[2], field, string.format('%.17g', throttle[field]))
        end
        redis.call('PEXPIRE', KEYS[2], 60000)
    else
        redis.call('DEL', KEYS[2])
    end
end
if throttle then
    return {cells, math.ceil(math.max(0, whole_at - now)), math.ceil(math.max(0, throttle.free_at - now)),
        math.ceil(rate() * 1000), throttle.since}
end
return {cells, math.ceil(math.max(0, whole_at - now)), 0, 0, 0}
