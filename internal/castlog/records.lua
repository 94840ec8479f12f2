-- Writes what a node's connections are and in which rooms, so that a client can go on with its
-- connection on any node.
--
-- KEYS[1]  the connections that the node holds, a set of pids
-- KEYS[2]  the nodes, a hash, as in append.lua
-- ARGV[1]  what the names of records begin with
-- ARGV[2]  the node
-- ARGV[3]  how long a record is kept after its end, ms
-- Then for each change: what, pid, generation, how many values follow, and these:
--   new    owner, socket id, rooms…   a connection that begins; \1 stands before its user's room
--   join   room, position             it hears the room from there on
--   leave  room
--   owner  owner                      it belongs to somebody else now
--   hold                              it lives, after others took its node for dead
--   end   position                    it may go on for a while; its client heard casts that had no position
--                                     until there
--   drop                              it may not go on
--   abandon                           as drop, whatever the generation
--   missed position                   the members of this node may have missed casts before it
-- returns  <pid>.<generation> of the changes that were not made, because another connection goes on
--          with the record, or because there is none
--
-- A record is a hash: o (owner), s (socket id), u (its user's room, which is logged while a record of
-- it lives; of:<room> is the set of their pids, and the zset ended has rooms by when the record of a
-- connection that has ended expires), h (holder: <node>.<generation>), t (when it was
-- taken last, Unix ms), x (the number of the offset then), k (by which claim: its name, the holder
-- before, and the e then), e (1 after its end), n (the position of an end), and r<room> with the
-- position of the join.
local base, node, keep_for = ARGV[1], ARGV[2], ARGV[3]
local held = KEYS[1]
local replaced = {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- forget_at has sweep.lua look, after some ms, whether a user's room has still records. When no
-- connection lives, what is known of the room expires a minute later also where nobody sweeps.
local function forget_at(room, ms)
  -- LT: a look that is due earlier stays. Each look removes dead records, so it must come.
  redis.call('ZADD', base .. 'ended', 'LT', string.format('%.0f', now + ms), room)
  redis.call('PEXPIRE', base .. 'ended', 600000)
  for _, other in ipairs(redis.call('SMEMBERS', base .. 'of:' .. room)) do
    if redis.call('PTTL', base .. 'conn:' .. other) == -1 then return end
  end
  redis.call('PEXPIRE', base .. 'of:' .. room, string.format('%.0f', ms + 60000))
end

local function drop(key, pid)
  local room = redis.call('HGET', key, 'u')
  redis.call('DEL', key)
  redis.call('SREM', held, pid)
  if room then
    redis.call('SREM', base .. 'of:' .. room, pid)
    forget_at(room, 0)
  end
end

local i = 4
while ARGV[i] do
  local what, pid, generation, count = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local holder = node .. '.' .. generation
  local key, value = base .. 'conn:' .. pid, i + 4
  i = value + count
  if what == 'new' then
    local fields = {'o', ARGV[value], 's', ARGV[value + 1], 'h', holder}
    for j = value + 2, value + count - 1 do
      local room = ARGV[j]
      if string.byte(room) == 1 then
        room = string.sub(room, 2)
        fields[#fields + 1] = 'u'
        fields[#fields + 1] = room
        redis.call('SADD', base .. 'of:' .. room, pid)
        redis.call('PERSIST', base .. 'of:' .. room)
      end
      fields[#fields + 1] = 'r' .. room
      fields[#fields + 1] = '0'
    end
    redis.call('HSET', key, unpack(fields))
    redis.call('SADD', held, pid)
  elseif what == 'missed' then
    redis.call('HSET', KEYS[2], node .. ':outage', ARGV[value])
  elseif what == 'abandon' then
    if string.match(redis.call('HGET', key, 'h') or '', '^(.*)%.%d+$') == node then drop(key, pid) end
  elseif redis.call('HGET', key, 'h') ~= holder then
    if what ~= 'drop' then replaced[#replaced + 1] = pid .. '.' .. generation end
  elseif what == 'join' then
    redis.call('HSETNX', key, 'r' .. ARGV[value], ARGV[value + 1])
  elseif what == 'leave' then
    redis.call('HDEL', key, 'r' .. ARGV[value])
  elseif what == 'owner' then
    redis.call('HSET', key, 'o', ARGV[value])
  elseif what == 'hold' then
    redis.call('PERSIST', key)
    redis.call('SADD', held, pid)
    local room = redis.call('HGET', key, 'u')
    if room then redis.call('PERSIST', base .. 'of:' .. room) end
  elseif what == 'end' then
    redis.call('HSET', key, 'e', '1', 'n', ARGV[value])
    redis.call('PEXPIRE', key, keep_for)
    redis.call('SREM', held, pid)
    local room = redis.call('HGET', key, 'u')
    if room then forget_at(room, keep_for + 1) end
  elseif what == 'drop' then
    drop(key, pid)
  end
end
return replaced
