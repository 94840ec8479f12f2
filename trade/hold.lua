-- Moves what one side gives into escrow, in its own inventory.
-- KEYS[1]  inventory
-- ARGV[1]  trade id   ARGV[2]  the goods must be in escrow before this, Unix ms
-- ARGV[3]  most that a character may hold of one thing
-- ARGV[4]  index of the last argument of what the side gives
-- ARGV[5]  inventory fields and quantities of what the side gives, then of what it gets
-- returns  {'ok'} also when the goods are in escrow already; or, and then nothing has changed:
--          {'late'} too late, or given back   {'short', field, have}   {'overflow', field}
--          {'corrupt', key, field, why}
-- writes   hold:<trade id> = "field quantity field quantity …"
if redis.call('HEXISTS', KEYS[1], 'hold:' .. ARGV[1]) == 1 then return {'ok'} end
if redis.call('HEXISTS', KEYS[1], 'done:' .. ARGV[1]) == 1 or now() >= tonumber(ARGV[2]) then
  return {'late'}
end
local last = tonumber(ARGV[4])
local refused = take(KEYS[1], ARGV, 5, last)
if refused then return refused end
-- What comes is put only to see whether it may, and taken back.
refused = put(KEYS[1], ARGV, last + 1, #ARGV, tonumber(ARGV[3]))
if refused then
  move(KEYS[1], '', ARGV, 5, last)
  return refused
end
move(KEYS[1], '-', ARGV, last + 1, #ARGV)
redis.call('HSET', KEYS[1], 'hold:' .. ARGV[1], table.concat(ARGV, ' ', 5, last))
return {'ok'}
