-- Adds a challenge to those of a character. In front stand the functions about challenges, and those
-- about records (internal/once/record).
--
-- KEYS[1]  the challenges to the character, a hash
-- KEYS[2]  only with an idempotency key: its record
-- ARGV[1]  the challenge's id   ARGV[2]  the challenger's character   ARGV[3]  the record, JSON
-- ARGV[4]  how long it is open, ms   ARGV[5]  O or H   ARGV[6]  how many may be open
-- ARGV[7]  with KEYS[2]: what once.Args returns: token, digest, keep (ms), answer
-- returns  {'ok', ms until it expires, id, record, …} with the oldest open challenges, which it
--          replaces; {'again', id, ms} when the challenger has an open challenge to this character;
--          {'once', 'answer', text} when the key did this before, and {'once', 'lost', ''} when
--          another holder has the claim
if KEYS[2] then
  local refused = once_check(KEYS[2], ARGV[7], ARGV[8])
  if refused then return {'once', refused[1], refused[2] or ''} end
end
local now = challenge_clock()
local all, open = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local c = challenge_read(all[i + 1], now)
  if not c then
    redis.call('HDEL', KEYS[1], all[i])
  else
    c.id = all[i]
    if c.id == ARGV[1] then return {'ok', whole(c.expiry - now)} end -- our own command, repeated
    if c.from == ARGV[2] and (c.state == 'O' or c.state == 'H') then return {'again', c.id, whole(c.expiry - now)} end
    if c.state == 'O' then open[#open + 1] = c end
  end
end
local answer = {'ok', ARGV[4]}
if ARGV[5] == 'O' and #open >= tonumber(ARGV[6]) then
  table.sort(open, function(a, b)
    if a.expiry ~= b.expiry then return a.expiry < b.expiry end
    return a.id < b.id
  end)
  for i = 1, #open - ARGV[6] + 1 do
    redis.call('HDEL', KEYS[1], open[i].id)
    answer[#answer + 1] = open[i].id
    answer[#answer + 1] = open[i].record
  end
end
challenge_write(KEYS[1], ARGV[1], {
  state = ARGV[5], till = now + ARGV[4], expiry = now + ARGV[4], fight = '-', from = ARGV[2], record = ARGV[3],
})
if KEYS[2] then once_answer(KEYS[2], ARGV[8], ARGV[9], ARGV[10]) end
return answer
