-- Lets the records of nodes expire that have died, or of one that leaves; and forgets the logs of the
-- rooms of users who have no record any more.
-- KEYS[1]  a zset: node by when it called without a cast last, Unix ms, as in append.lua
-- KEYS[2]  the nodes, a hash, as in append.lua
-- KEYS[3]  the head   KEYS[4]  sizes   KEYS[5]  cuts   KEYS[6]  rooms: as in append.lua
-- ARGV[1]  what the names of records begin with
-- ARGV[2]  the node
-- ARGV[3]  how long a record is kept after its end, ms
-- ARGV[4]  after how long without a call a node is dead, ms
-- ARGV[5]  '1' when the node leaves: then its own records expire, and no others
-- returns  {'1' if others have let this node's records expire since its last call, how many records
--          expire now, how many users' rooms were looked at}
local base, node = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, expired = 1000, 0

local function expire(other, since)
  local held = base .. 'held:' .. other
  local left = string.format('%.0f', math.max(1, ARGV[3] - (now - since)))
  for _, pid in ipairs(redis.call('SPOP', held, most - expired)) do
    local key = base .. 'conn:' .. pid
    if string.match(redis.call('HGET', key, 'h') or '', '^(.*)%.%d+$') == other then
      redis.call('PEXPIRE', key, left)
      local room = redis.call('HGET', key, 'u')
      if room then
        redis.call('ZADD', base .. 'ended', 'LT', string.format('%.0f', now + left + 1), room)
        redis.call('PEXPIRE', base .. 'ended', 600000)
        redis.call('PEXPIRE', base .. 'of:' .. room, string.format('%.0f', left + 60000))
        for _, pid in ipairs(redis.call('SMEMBERS', base .. 'of:' .. room)) do
          if redis.call('PTTL', base .. 'conn:' .. pid) == -1 then redis.call('PERSIST', base .. 'of:' .. room) end
        end
      end
    end
    expired = expired + 1
  end
end

-- forget_log forgets the log of a user's room, unless there are records of it. Who may still miss
-- something of it has none.
local function forget_log(room)
  local pids, lives, left = base .. 'of:' .. room, false, nil
  for _, pid in ipairs(redis.call('SMEMBERS', pids)) do
    local expires = redis.call('PTTL', base .. 'conn:' .. pid)
    if expires == -2 then
      redis.call('SREM', pids, pid)
    elseif expires == -1 then
      lives = true
    else
      left = math.max(left or 0, expires) -- 0 in its last millisecond
    end
  end
  if not lives and not left then
    local length = redis.pcall('LLEN', base .. 'room:' .. room)
    if type(length) == 'table' then length = 0 end -- another program has written the key
    local bytes = length * 1024 + tonumber(redis.call('HGET', KEYS[4], room) or 0)
    if bytes > 0 then redis.call('HINCRBY', KEYS[3], 'bytes', -bytes) end
    -- A node that has been deaf since before what is forgotten is told that it may lack something.
    local cut, floor = tonumber(redis.call('HGET', KEYS[5], room) or 0), tonumber(redis.call('HGET', KEYS[3], 'floor') or 0)
    if cut > floor then redis.call('HSET', KEYS[3], 'floor', string.format('%.0f', cut)) end
    redis.call('UNLINK', base .. 'room:' .. room)
    redis.call('HDEL', KEYS[4], room)
    redis.call('HDEL', KEYS[5], room)
    redis.call('ZREM', KEYS[6], room)
  end
  if left then
    redis.call('ZADD', base .. 'ended', string.format('%.0f', now + left + 1), room)
  else
    redis.call('ZREM', base .. 'ended', room)
  end
end

if ARGV[5] == '1' then
  expire(node, now)
  return {'0', expired, 0}
end
local due = redis.call('ZRANGEBYSCORE', base .. 'ended', '-inf', string.format('%.0f', now), 'LIMIT', 0, 500)
for _, room in ipairs(due) do forget_log(room) end
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[4]))) do
  if expired >= most then break end
  if other ~= node and redis.call('EXISTS', base .. 'held:' .. other) == 1 then
    redis.call('HSET', KEYS[2], other .. ':swept', '1')
    expire(other, tonumber(redis.call('ZSCORE', KEYS[1], other)))
  end
end
local swept = redis.call('HGET', KEYS[2], node .. ':swept')
if swept then redis.call('HDEL', KEYS[2], node .. ':swept') end
return {swept or '0', expired, #due}
