-- Reads one window, and changes it when asked to. It reads all of it, so it is for operators.
-- KEYS[1]  the window; its form is described in spend.lua
-- ARGV     limit, window (ms), how long admissions are kept (ms), cost of an event,
--          admissions to add (below 0: how many of the newest to take back),
--          block: '' leaves it, 0 lifts it, else it lasts so many ms from now,
--          how many admissions to keep at most; then, in tests, now in µs
-- returns  {what remains, ms until an event is admitted, ms until the whole limit is available,
--          ms until the block ends}; 0 is now
local call, byte, sub = redis.call, string.byte, string.sub
local limit, us, keep, cost = ARGV[1] + 0, ARGV[2] * 1000, ARGV[3] * 1000, ARGV[4] + 0
local add, block, most, real = ARGV[5] + 0, ARGV[6], ARGV[7] + 0, ARGV[8]
if not real then
  real = call('TIME')
  real = real[1] * 1000000 + real[2]
end
local turn, half = 1099511627776, 549755813888 -- 2^40, 2^39
local now, ms = real % turn, math.ceil(real / 1000)

local s = call('GET', KEYS[1]) or ''
local blocked = 0 -- until this ms
if #s % 5 == 1 and sub(s, 1, 3) == 'BLK' then
  blocked, s = sub(s, 4, 16) + 0, sub(s, 17)
end
if #s % 5 ~= 0 then s = '' end

local function at(k) -- the k-th admission, from 1
  local a, b, c, d, e = byte(s, 5 * k - 4, 5 * k)
  return a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e
end

local stamp = now
if s ~= '' then
  local ahead = (at(#s / 5) - now) % turn
  if ahead > 0 and ahead < half then -- the clock has gone back
    if ahead > keep then s = '' else stamp = at(#s / 5) end
  end
end

local function first(span) -- the first admission that is younger than span
  local low, high = 1, #s / 5 + 1
  while low < high do
    local mid = math.floor((low + high) / 2)
    if (stamp - at(mid)) % turn >= span then low = mid + 1 else high = mid end
  end
  return low
end

s = sub(s, 5 * first(keep) - 4)
if add > 0 then
  local h, l = math.floor(stamp / 65536), stamp % 65536
  local new = string.char(math.floor(h / 65536), math.floor(h / 256) % 256, h % 256, math.floor(l / 256), l % 256)
  s = sub(s .. string.rep(new, math.min(add, most)), -5 * most)
elseif add < 0 then
  s = sub(s, 1, math.max(0, #s + 5 * add))
end
if block ~= '' then blocked = block == '0' and 0 or ms + block end
if blocked <= ms then blocked = 0 end

if add ~= 0 or block ~= '' then
  local ttl = math.max(s ~= '' and math.ceil((keep + (stamp - now) % turn) / 1000) or 0, blocked - ms)
  if ttl == 0 then
    call('DEL', KEYS[1])
  else
    local front = blocked > 0 and 'BLK' .. string.format('%013.0f', blocked) or ''
    call('SET', KEYS[1], front .. s, 'PX', string.format('%.0f', ttl))
  end
end

local oldest = first(us)
local left = limit - (#s / 5 + 1 - oldest)
local one, all = 0, 0
local function wait(k)
  local t = (at(k) - now) % turn
  if t >= half then t = t - turn end
  return math.ceil((t + us) / 1000)
end
if left < limit then all = wait(#s / 5) end
if left < cost then one = wait(oldest + cost - left - 1) end
if blocked > 0 then
  one, all = math.max(one, blocked - ms), math.max(all, blocked - ms)
end
return {left, one, all, blocked > 0 and blocked - ms or 0}
