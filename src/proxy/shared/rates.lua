-- One app's part of a call: draws from its rate limits. GCRA: a limit's whole state is when its burst will be whole
-- again, in microseconds by Redis' clock, since EPOCH so that a double holds fractions of them.
-- KEYS: the limits. ARGV, numbers all: of each limit, from one cell to the next (us) and its burst; then of each draw,
-- how many cells (below zero: given back), of how many limits, and which of KEYS these are.
-- A cell is drawn of all limits of its draw or of none.
-- Returns, of each draw, how many cells; then of each limit, how long until its burst is whole (us).
local EPOCH = 1700000000
local time = redis.call('TIME')
local now = (time[1] - EPOCH) * 1000000 + time[2]

local read = 0
local function argument()
    read = read + 1
    return tonumber(ARGV[read])
end

local limits = {}
local stored = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
    local period, burst = argument(), argument()
    -- No later than with nothing left: Redis' clock may have been set back.
    local whole_at = math.min(tonumber(stored[i] or 0), now + period * burst)
    limits[i] = {period = period, tolerance = period * (burst - 1), whole_at = math.max(whole_at, now)}
end

local answer = {}
while read < #ARGV do
    local cells, drawn = argument(), {}
    for i = 1, argument() do
        drawn[i] = limits[argument()]
    end
    for _, limit in ipairs(drawn) do
        if cells > 0 then
            -- A little early counts as in time: sums of fractions are not exact.
            local early = math.min(1, limit.period / 100)
            local room = now - limit.whole_at + limit.tolerance + early
            cells = math.max(0, math.min(cells, math.floor(room / limit.period) + 1))
        end
    end
    if cells ~= 0 then
        for _, limit in ipairs(drawn) do
            limit.whole_at = math.max(limit.whole_at + cells * limit.period, now)
            limit.changed = true
        end
    end
    answer[#answer + 1] = cells
end

for i, limit in ipairs(limits) do
    local missing = math.ceil(limit.whole_at - now)
    if limit.changed then
        redis.call('SET', KEYS[i], string.format('%.17g', limit.whole_at), 'PX', math.ceil(missing / 1000) + 1000)
    end
    answer[#answer + 1] = missing
end
return answer
