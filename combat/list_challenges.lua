-- Lists the open challenges to a character. In front stand the functions about challenges.
--
-- KEYS[1]  the challenges, a hash
-- returns  {id, ms until it expires, record, …}
local now, open = challenge_clock(), {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local c = challenge_read(all[i + 1], now)
  if c and c.state == 'O' then
    open[#open + 1] = all[i]
    open[#open + 1] = whole(c.expiry - now)
    open[#open + 1] = c.record
  end
end
return open
