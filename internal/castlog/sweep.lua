-- Lets the records of nodes expire that have died, or of one that leaves.
-- KEYS[1]  a zset: node by when it called without a cast last, Unix ms, as in append.lua
-- KEYS[2]  the nodes, a hash, as in append.lua
-- ARGV[1]  what the names of records begin with
-- ARGV[2]  the node
-- ARGV[3]  how long a record is kept after its end, ms
-- ARGV[4]  after how long without a call a node is dead, ms
-- ARGV[5]  '1' when the node leaves: then its own records expire, and no others
-- returns  {'1' if others have let this node's records expire since its last call, how many records
--          expire now}
local base, node = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, expired = 1000, 0

local function expire(other, since)
  local held = base .. 'held:' .. other
  local left = string.format('%.0f', math.max(1, ARGV[3] - (now - since)))
  for _, pid in ipairs(redis.call('SPOP', held, most - expired)) do
    local key = base .. 'conn:' .. pid
    if string.match(redis.call('HGET', key, 'h') or '', '^(.*)%.%d+$') == other then redis.call('PEXPIRE', key, left) end
    expired = expired + 1
  end
end

if ARGV[5] == '1' then
  expire(node, now)
  return {'0', expired}
end
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[4]))) do
  if expired >= most then break end
  if other ~= node and redis.call('EXISTS', base .. 'held:' .. other) == 1 then
    redis.call('HSET', KEYS[2], other .. ':swept', '1')
    expire(other, tonumber(redis.call('ZSCORE', KEYS[1], other)))
  end
end
local swept = redis.call('HGET', KEYS[2], node .. ':swept')
if swept then redis.call('HDEL', KEYS[2], node .. ':swept') end
return {swept or '0', expired}
