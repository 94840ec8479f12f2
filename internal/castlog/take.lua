-- Takes the connection of a client that comes back. Of two that come at once, one gets it.
--
-- KEYS[1]  the head, as in append.lua
-- KEYS[2]  the nodes, a hash, as in append.lua
-- KEYS[3]  the record, as in records.lua
-- ARGV[1]  what the names of records begin with
-- ARGV[2]  the node that takes it
-- ARGV[3]  the pid
-- ARGV[4]  the owner
-- ARGV[5]  the epoch of the offset   ARGV[6]  its number
-- ARGV[7]  for how long a connection that was just taken cannot be taken again with the same offset, ms
-- ARGV[8]  names the claim: a second call for it has the same answer
-- ARGV[9]  the holder whose connection was found dead, so that it can be taken nevertheless; or ''
-- Then the other nodes that live.
-- returns  {'ok', socket id, the holder before, '1' if it had noticed the end, generation, then the
--          rooms, each with the position of its join}; or {why not}:
--   'unknown'  there is no record        'owner'     it is somebody else's
--   'offset'   no position of this log   'boundary'  the server has forgotten what was there
--   'cut'      entries were dropped      'outage'    casts came without a position meanwhile
--   'busy'     another has just taken it; the socket id and the holder follow
--   'mixed'    a node that lives keeps no records
--   'settling' the nodes append again what a server has forgotten
local base, node, pid, owner, number = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local all = redis.call('HGETALL', KEYS[3])
if #all == 0 then return {'unknown'} end
local record, rooms = {}, {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 1) == 'r' then
    rooms[#rooms + 1] = string.sub(all[i], 2)
    rooms[#rooms + 1] = all[i + 1]
  else
    record[all[i]] = all[i + 1]
  end
end
if not record.o or not record.s or not record.h then return {'unknown'} end
if record.o ~= owner then return {'owner'} end

local function answer(former, is_ended, generation)
  local reply = {'ok', record.s, former, is_ended, generation}
  for _, v in ipairs(rooms) do reply[#reply + 1] = v end
  return reply
end
local claim, former, was_ended = string.match(record.k or '', '^(%S+) (%S+) (%d)$')
local holder, generation = string.match(record.h, '^(.*)%.(%d+)$')
if claim == ARGV[8] and holder == node then return answer(former, was_ended, tonumber(generation)) end

local head = redis.call('HMGET', KEYS[1], 'epoch', 'position', 'boundary', 'settled', 'forgotFrom', 'zones', 'pressed')
if head[1] ~= ARGV[5] or number > tonumber(head[2] or 0) then return {'offset'} end
if head[3] ~= head[4] then return {'settling'} end
local function is_forgotten(from, to) return number > tonumber(from) and number <= tonumber(to) end
if is_forgotten(head[5] or 0, head[3] or 0) then return {'boundary'} end
local count = 0
for from, to in string.gmatch(head[6] or '', '(%d+)%-(%d+) ') do
  count = count + 1
  if is_forgotten(from, to) or count == 1 and select(2, string.gsub(head[6], ' ', '')) == 8 and number <= tonumber(to) then
    return {'boundary'}
  end
end
if number < tonumber(head[7] or 0) then return {'cut'} end
former = holder or ''
local outage = record.n or redis.call('HGET', KEYS[2], former .. ':outage') or 0
if number < tonumber(outage) then return {'outage'} end
for i = 10, #ARGV do
  if not redis.call('HGET', KEYS[2], ARGV[i] .. ':records') then return {'mixed'} end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_recent = record.t and not record.e and now - tonumber(record.t) < tonumber(ARGV[7])
-- A client that has heard something since is no other one.
if is_recent and number <= tonumber(record.x or 0) and record.h ~= ARGV[9] then return {'busy', record.s, record.h} end
generation = (tonumber(generation) or 0) + 1
redis.call('HSET', KEYS[3], 'h', node .. '.' .. generation, 't', string.format('%.0f', now), 'x', ARGV[6],
  'k', ARGV[8] .. ' ' .. record.h .. ' ' .. (record.e or '0'))
redis.call('HDEL', KEYS[3], 'e', 'n')
redis.call('PERSIST', KEYS[3])
if record.u then redis.call('PERSIST', base .. 'of:' .. record.u) end
redis.call('SREM', base .. 'held:' .. former, pid)
redis.call('SADD', base .. 'held:' .. node, pid)
return answer(record.h, record.e or '0', generation)
