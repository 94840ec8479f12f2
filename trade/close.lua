-- Ends what a side has in escrow, once: it goes and what the side gets comes, or it comes back.
-- Then done:<trade id> stands in its place, so that a hold that was late on its way finds it. Past
-- the time when a hold may still come, that goes too.
-- KEYS[1]  inventory
-- ARGV[1]  trade id   ARGV[2]  holds may come until, Unix ms   ARGV[3]  apply or undo
-- ARGV[4]  apply: inventory fields and quantities of what the side gets
-- returns  {'1'} when it did something, {'0'} when it was done before;
--          or {'corrupt', key, field, why}, and then the goods are still in escrow
local held = redis.call('HGET', KEYS[1], 'hold:' .. ARGV[1])
if held then
  local come, first = ARGV, 4
  if ARGV[3] == 'undo' then
    come, first = {}, 1
    for word in string.gmatch(held, '%S+') do come[#come + 1] = word end
  end
  local refused = add(KEYS[1], come, first, #come)
  if refused then return refused end
  redis.call('HDEL', KEYS[1], 'hold:' .. ARGV[1])
end
if now() < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'done:' .. ARGV[1], '1')
else
  redis.call('HDEL', KEYS[1], 'done:' .. ARGV[1])
end
return {held and '1' or '0'}
