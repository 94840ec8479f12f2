-- Charges an event to one policy or several, all or none. Around it stands "local clock": Redis's
-- time in µs, once it was read; events that are merged into one call share it.
-- KEYS     the windows, one for each policy
-- ARGV     limit and window (ms) of each; then, rarely: now in µs ('' is Redis's clock; tests set
--          it), 'stamp' to get the long answer or '', and for each window what the event costs
--          (default 1) and how long admissions are kept (ms, at least the window, which is the
--          default)
-- returns  refused:  {k, ms until the event is admitted, ms until the whole limit is available,
--                    what remains}; k is the first window that refuses, from 1
--          admitted: what remains, a number; for several windows, or with 'stamp',
--                    {0, what remains of each…, the stamp of the last}
--
-- A window is a string: the admissions of one subject, oldest first, five bytes each, big endian,
-- microseconds modulo 2^40 (twelve days). It holds at least all that still count; those that do not
-- are removed from the front by a later write. In front of them may stand a block, 16 bytes: BLK
-- and the millisecond, 13 digits, until which every event is refused. The code is flat, without
-- functions: making a closure costs as much as a call to Redis. 1099511627776 is 2^40, 549755813888
-- is 2^39.
local call, byte, floor = redis.call, string.byte, math.floor
local args = 2 * #KEYS
local now = ARGV[args + 1]
if not now or now == '' then
  if not clock then
    clock = call('TIME')
    clock = clock[1] * 1000000 + clock[2]
  end
  now = clock
end
local real = now
now = now % 1099511627776
local many, writes, reply = args > 2 or ARGV[args + 2] == 'stamp'
local special = ARGV[args + 3]
if many then
  writes, reply = {}, {0}
end

for k = 1, #KEYS do
  local key, limit, ms = KEYS[k], ARGV[2 * k - 1] + 0, ARGV[2 * k]
  ARGV[2 * k - 1] = limit -- a number, for the events that share these arguments
  local us = ms * 1000
  local cost, keep, kept = 1, us, ms
  if special then
    cost, kept = ARGV[args + 1 + 2 * k] + 0, ARGV[args + 2 + 2 * k]
    keep = kept * 1000
  end
  -- s: the window, or a piece of it that begins after off bytes. n: its bytes in all.
  -- i: where what counts begins in s. stamp: the time to judge by.
  local s, n, long
  local i, off, stamp, newest = 1, 0, now, now
  if limit > 200 and keep == us then
    n = call('STRLEN', key)
    long = n > 1000
  end
  if not long then
    s = call('GET', key) or ''
    n = #s
  end
  if n % 5 == 1 then
    local front = s and string.sub(s, 1, 16) or call('GETRANGE', key, 0, 15)
    if string.sub(front, 1, 3) == 'BLK' then
      local wait = math.ceil(string.sub(front, 4) - real / 1000)
      if wait > 0 then return {k, wait, wait, 0} end
      s = string.sub(s or call('GET', key), 17)
      n, long = #s, false
      if n == 0 then call('DEL', key) else call('SET', key, s, 'KEEPTTL') end
    end
  end
  if long then s = call('GETRANGE', key, -5, -1) end

  if n > 0 and n % 5 == 0 then
    local a, b, c, d, e = byte(s, -5, -1)
    newest = a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e
    local ahead = (newest - now) % 1099511627776
    if ahead > 0 and ahead < 549755813888 then -- the clock has gone back
      stamp = newest
      if ahead > keep then -- by more than a window: start anew
        s, n, long, stamp = '', 0, false, now
      end
    end
  else -- empty, or not ours
    s, n, long = '', 0, false
  end

  -- from: where what is kept begins
  local trim, from = true
  if long then
    trim = false
    while true do
      s = call('GETRANGE', key, off, off + 639)
      if off == 0 then -- no stamp may grow so old that it looks new
        local a, b, c, d, e = byte(s, 1, 5)
        trim = (stamp - (a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e)) % 1099511627776 >= 2 * us
      end
      local low, high = 0, #s / 5
      while low < high do
        local mid = floor((low + high) / 2)
        local a, b, c, d, e = byte(s, mid * 5 + 1, mid * 5 + 5)
        if (stamp - (a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e)) % 1099511627776 >= us then
          low = mid + 1
        else
          high = mid
        end
      end
      i = low * 5 + 1
      if i < #s or off + #s >= n then break end
      off = off + #s
    end
    i = off + i
    from = i
    trim = trim or i > 640
  else
    while i < n do
      local a, b, c, d, e = byte(s, i, i + 4)
      if (stamp - (a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e)) % 1099511627776 < keep then break end
      i = i + 5
    end
    from = i
    while keep > us and i < n do
      local a, b, c, d, e = byte(s, i, i + 4)
      if (stamp - (a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e)) % 1099511627776 < us then break end
      i = i + 5
    end
  end

  local left = limit - (n - i + 1) / 5
  if left < cost then
    i = i + 5 * (cost - 1 - left) -- the admission that must leave
    if long then
      s, i = call('GETRANGE', key, i - 1, i + 3), 1
    end
    local a, b, c, d, e = byte(s, i, i + 4)
    local one = (a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e - now) % 1099511627776
    local all = (newest - now) % 1099511627776
    if one >= 549755813888 then one = one - 1099511627776 end
    if all >= 549755813888 then all = all - 1099511627776 end
    return {k, math.ceil((one + us) / 1000), math.ceil((all + us) / 1000), left > 0 and left or 0}
  end

  local low = stamp % 65536
  local high = (stamp - low) / 65536
  local c, e = high % 256, low % 256
  local b = (high - c) / 256 % 256
  local new = string.char(((high - c) / 256 - b) / 256, b, c, (low - e) / 256, e)
  if cost > 1 then new = string.rep(new, cost) end
  local ttl = kept -- a string: a number would be printed again for each call
  if stamp ~= now then ttl = kept + 1 + math.ceil((stamp - now) % 1099511627776 / 1000) end
  if many then
    if long then
      s = trim and call('GETRANGE', key, from - 1, -1)
    elseif from > 1 then
      s = string.sub(s, from)
    end
    reply[k + 1], reply[#KEYS + 2] = left - cost, stamp
    writes[k] = {ttl, s, new}
  elseif trim then
    if long then
      s = call('GETRANGE', key, from - 1, -1)
    elseif from > 1 then
      s = string.sub(s, from)
    end
    call('PSETEX', key, ttl, s .. new)
    return left - cost
  else
    call('APPEND', key, new)
    call('PEXPIRE', key, ttl)
    return left - cost
  end
end

for k = 1, #KEYS do
  local w = writes[k]
  if w[2] then
    call('PSETEX', KEYS[k], w[1], w[2] .. w[3])
  else
    call('APPEND', KEYS[k], w[3])
    call('PEXPIRE', KEYS[k], w[1])
  end
end
return reply
