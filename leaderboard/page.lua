-- Reads a part of a leaderboard: its top, or the entries around a player.
--
-- KEYS[1]  the scores, a zset   KEYS[2]  the names, a hash
-- ARGV[1]  the id of the player, or '' for the top
-- ARGV[2]  how many entries; around a player, on each side
-- returns  {how many players there are, the rank of the first entry, from 0,
--           then id, score and name of each entry ...};
--          no entries if the player is not on the board. Scores are integers as text.
local first, last = 0, tonumber(ARGV[2]) - 1
local page = {redis.call('ZCARD', KEYS[1]), 0}
if ARGV[1] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[1], ARGV[1])
  if not rank then
    return page
  end
  first, last = math.max(0, rank - tonumber(ARGV[2])), rank + tonumber(ARGV[2])
end
page[2] = first
if last < first then
  return page
end
local found = redis.call('ZREVRANGE', KEYS[1], first, last, 'WITHSCORES')
local who = {}
for i = 1, #found, 2 do
  who[#who + 1] = found[i]
end
if #who == 0 then
  return page
end
local names = redis.call('HMGET', KEYS[2], unpack(who))
for i = 1, #who do
  page[#page + 1] = who[i]
  page[#page + 1] = string.format('%.0f', math.floor(tonumber(found[2 * i])))
  page[#page + 1] = names[i] or ''
end
return page
