-- Writes what a node's connections are and in which rooms, so that a client can go on with its
-- connection on any node.
--
-- KEYS[1]  the connections that the node holds, a set of pids
-- KEYS[2]  the nodes, a hash, as in append.lua
-- ARGV[1]  what the names of records begin with
-- ARGV[2]  the node
-- ARGV[3]  how long a record is kept after its end, ms
-- Then for each change: what, pid, generation, how many values follow, and these:
--   new    owner, socket id, rooms…   a connection that begins
--   join   room, position             it hears the room from there on
--   leave  room
--   owner  owner                      it belongs to somebody else now
--   hold                              it lives, after others took its node for dead
--   end   position                    it may go on for a while; its client heard casts that had no position
--                                     until there
--   drop                              it may not go on
--   abandon                           as drop, whatever the generation
--   missed position                   the members of this node may have missed casts before it
-- returns  the pids of the changes that were not made, because another connection goes on with them,
--          or because there is no record
--
-- A record is a hash: o (owner), s (socket id), h (holder: <node>.<generation>), t (when it was
-- taken last, Unix ms), x (the number of the offset then), k (by which claim: its name, the holder
-- before, and the e then), e (1 after its end), n (the position of an end), and r<room> with the
-- position of the join.
local base, node, keep_for = ARGV[1], ARGV[2], ARGV[3]
local held = KEYS[1]
local replaced = {}
local i = 4
while ARGV[i] do
  local what, pid, count = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 3])
  local holder = node .. '.' .. ARGV[i + 2]
  local key, value = base .. 'conn:' .. pid, i + 4
  i = value + count
  if what == 'new' then
    local fields = {'o', ARGV[value], 's', ARGV[value + 1], 'h', holder}
    for j = value + 2, value + count - 1 do
      fields[#fields + 1] = 'r' .. ARGV[j]
      fields[#fields + 1] = '0'
    end
    redis.call('HSET', key, unpack(fields))
    redis.call('SADD', held, pid)
  elseif what == 'missed' then
    redis.call('HSET', KEYS[2], node .. ':outage', ARGV[value])
  elseif what == 'abandon' then
    if string.match(redis.call('HGET', key, 'h') or '', '^(.*)%.%d+$') == node then
      redis.call('DEL', key)
      redis.call('SREM', held, pid)
    end
  elseif redis.call('HGET', key, 'h') ~= holder then
    if what ~= 'drop' then replaced[#replaced + 1] = pid end
  elseif what == 'join' then
    redis.call('HSETNX', key, 'r' .. ARGV[value], ARGV[value + 1])
  elseif what == 'leave' then
    redis.call('HDEL', key, 'r' .. ARGV[value])
  elseif what == 'owner' then
    redis.call('HSET', key, 'o', ARGV[value])
  elseif what == 'hold' then
    redis.call('PERSIST', key)
    redis.call('SADD', held, pid)
  elseif what == 'end' then
    redis.call('HSET', key, 'e', '1', 'n', ARGV[value])
    redis.call('PEXPIRE', key, keep_for)
    redis.call('SREM', held, pid)
  elseif what == 'drop' then
    redis.call('DEL', key)
    redis.call('SREM', held, pid)
  end
end
return replaced
