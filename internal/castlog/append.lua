-- Numbers casts, logs them, writes the history and publishes: all of it, or none.
--
-- KEYS[1]  the head, a hash: epoch, position (of the newest cast), server (whose data these are), former
--          (the server before), boundary (the position where this server began), forgotFrom (the
--          position that it had before), boundaryAt (Unix ms), settled (the boundary that no node is
--          waited for any more), missed (the boundary at which a node was not waited for any longer),
--          floor (below it a whole room may have been dropped), bytes (of all logs), pressed (as floor,
--          but not for rooms that were dropped for their age), zones (of the boundaries before:
--          '<forgotFrom>-<boundary> ', eight at most)
-- KEYS[2]  the nodes, a hash: node to its newest sequence number, <node>:boundary to the boundary
--          for which it appended again what was lacking, <node>:refused to what was refused last,
--          <node>:records to 1 when it keeps records (records.lua), <node>:outage to the position up to
--          which its members may have received casts without their positions
-- KEYS[3]  a zset: node by when it called without a cast last, Unix ms
-- KEYS[4]  a hash: room to the bytes by which the entries of its log are longer than 1 KiB each; rooms
--          without such entries are not in it
-- KEYS[5]  a hash: room to the position of the newest entry that its log dropped
-- KEYS[6]  a zset: room by when it got an entry last, Unix ms, up to a twelfth of ARGV[6] late
-- KEYS[7]  a zset: stream by when its early casts wait no longer, Unix ms
-- KEYS[8]  a zset: casts that were appended before the boundary, by the position that they had
-- KEYS[9]  a hash: these casts, packed; and '+' with such a cast to the position at which a node heard it
-- ARGV[1]  what the names of logs and streams begin with
-- ARGV[2]  the node
-- ARGV[3]  names the server that the node writes to; '' when it cannot know
-- ARGV[4]  the epoch, 8 characters, if there is none yet
-- ARGV[5]  the newest position that the node knows of
-- ARGV[6]  how long a log is kept after its newest entry, ms
-- ARGV[7]  how many bytes a room's log may have; an entry counts as 1 KiB at least
-- ARGV[8]  how many bytes all logs may have
-- ARGV[9]  the boundary that the node knows
-- ARGV[10] '' for new casts; 'again' for casts that were appended before the boundary; 'done' for
--          the last of these; 'bye' when the node leaves
-- ARGV[11] '1' to go on though the server lacks casts that the node does not have any more
-- ARGV[12] the channel on which the position is published when there is no cast
-- ARGV[13] with 'done': the casts that the node heard above forgotFrom, its own too, each as node,
--          sequence number in 16 digits, position and a space
-- ARGV[14] '1' when members have received casts of this call before it
-- ARGV[15] the rooms of this call that had no cast of this node for a while, with a zero byte between
--          two: when they were written to last is noted
-- Then, if there are casts, the sequence number of the first: each has the next one, from 1 without
-- gaps. Then for each cast:
--   the message, to which the position is appended; the rooms, with a zero byte between two, and \1
--   before one that is logged only while a connection has a record in it; the channels, likewise;
--   '' or: the position that it had before the boundary ('' when it is not known), the stream ('' for
--     none) and the place in it, with a zero byte between two;
--   '' or, with a history: its key, length, age (ms), the text;
--     then '' or, with a claim: the key of slowness, ms, record ('' for none), token, digest, keep, answer
-- returns  {status, epoch, position, boundary, the node's newest sequence number or '', missed,
--          how many entries were dropped, forgotFrom, how many connections hear the
--          position that was published, then for each cast: 'again' when it was there;
--          'refused again'; {'late'}; {'waits'}; {position, connections that received it,
--          why the history was not written or ''}; or what history_claim says}
-- status   'ok'; 'boundary' when the node knows another one; 'settling' while other nodes append again;
--          'stale' when the call was meant for the server before;
--          'lacks' when the server has not the cast before the first. Unless 'ok', nothing was done.
local head, nodes, alive, sizes, cuts, rooms, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local again, again_casts = KEYS[8], KEYS[9]
local base, node, server = ARGV[1], ARGV[2], ARGV[3]
local known, keep_for, room_bytes, all_bytes = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local mode = ARGV[10]

local function whole(n) return string.format('%d', n) end

-- Where a right is missing that is needed later, nothing is written. (Redis 7 tells.)
local needed = {
  {'RPUSH', base .. 'room:', ''}, {'LINDEX', base .. 'room:', '0'}, {'LRANGE', base .. 'room:', '0', '0'}, {'LTRIM', base .. 'room:', '0', '0'},
  {'HINCRBY', base .. 'sizes', '', '0'}, {'XADD', base .. 'room:', '*', '', ''}, {'PUBLISH', ARGV[12], ''},
}
for _, command in ipairs(redis.acl_check_cmd and needed or {}) do
  if not redis.acl_check_cmd(unpack(command)) then redis.call(unpack(command)) end -- which is refused, and recorded
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', head, 'epoch', 'position', 'server', 'boundary', 'boundaryAt', 'settled', 'missed', 'floor', 'bytes', 'forgotFrom', 'former', 'pressed', 'zones')
local epoch, position = found[1], tonumber(found[2] or 0)
local boundary, boundary_at = found[4], tonumber(found[5] or 0)
local settled, missed = found[6], found[7] or ''
local floor, bytes = tonumber(found[8] or 0), tonumber(found[9] or 0)
local forgot_from = found[10] or '0'
local pressed, zones = tonumber(found[12] or 0), found[13] or ''
local first_floor, first_bytes, first_pressed = floor, bytes, pressed
local of_node = redis.call('HMGET', nodes, node, node .. ':refused')
local last = of_node[1]
local dropped = 0

-- A server that we have not written to before, or one that has forgotten: it goes on far above
-- every position that any node can have heard of.
if not epoch or server ~= '' and found[3] ~= server or position < known then
  if server ~= '' and server == found[11] and now < boundary_at + 2000 then
    return {'stale', epoch, whole(position), boundary, last or '', missed, 0, forgot_from, 0}
  end
  if settled == boundary or not boundary then
    if boundary and boundary ~= '0' then zones = zones .. forgot_from .. '-' .. boundary .. ' ' end
    if select(2, string.gsub(zones, ' ', '')) > 8 then zones = string.gsub(zones, '^%d+%-%d+ ', '', 1) end
    forgot_from = whole(position)
  end
  position = math.max(position, known)
  if position > 0 then position = position + 1048576 end
  epoch = epoch or ARGV[4]
  boundary, boundary_at, settled = whole(position), now, ''
  redis.call('HSET', head, 'epoch', epoch, 'position', boundary, 'server', server, 'boundary', boundary, 'boundaryAt', whole(now), 'settled', '',
    'forgotFrom', forgot_from, 'former', found[3] or '', 'zones', zones)
  redis.call('PUBLISH', ARGV[12], epoch .. boundary) -- so that the others append again soon
end

local function refuse(status) return {status, epoch, whole(position), boundary, last or '', missed, 0, forgot_from, 0} end

if boundary ~= ARGV[9] then return refuse('boundary') end

-- is_waited_for tells whether a node that appended shortly before the boundary has not come back.
local function is_waited_for()
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', alive, whole(boundary_at - 5000), '+inf')) do
    if redis.call('HGET', nodes, other .. ':boundary') ~= boundary then return true end
  end
  return false
end

local first = tonumber(ARGV[16])
if first and ARGV[11] ~= '1' and first > tonumber(last or 0) + 1 then return refuse('lacks') end
last = tonumber(last or 0)

-- is_foreign tells whether an error comes of what another program has written.
local function is_foreign(err) return string.find(err, 'WRONGTYPE', 1, true) or string.find(err, 'equal or smaller', 1, true) end

local function split(text)
  if not string.find(text, '\0', 1, true) then return {text} end
  local list = {}
  for part in string.gmatch(text .. '\0', '(.-)%z') do list[#list + 1] = part end
  return list
end

-- What this call adds to a room's log is written once, at the end: room to its new entries, and these
-- rooms in order. extra_bytes has those by which new entries are longer than 1 KiB each.
local new_entries, written_rooms, extra_bytes = {}, {}, {}

-- position_of returns where an entry stands, or nil when another program has written it.
local function position_of(entry) return entry and tonumber(string.match(entry, '^%d+$', -16) or '') end

-- count_bytes returns what a room's log counts for, with the length that it has.
local function count_bytes(room, length) return length * 1024 + tonumber(redis.call('HGET', sizes, room) or 0) end

-- drop_room forgets the log of a room, for its age or for another reason. It returns how many entries
-- it had.
local function drop_room(room, is_old)
  local key = base .. 'room:' .. room
  local length, at = redis.pcall('LLEN', key), position
  if type(length) == 'table' then -- another program has written the key
    length = 0
  else
    at = position_of(redis.call('LINDEX', key, '-1')) or position
  end
  floor = math.max(floor, math.min(at, position))
  if not is_old then pressed = math.max(pressed, math.min(at, position)) end
  bytes = bytes - count_bytes(room, length)
  redis.call('UNLINK', key)
  redis.call('HDEL', sizes, room)
  redis.call('HDEL', cuts, room)
  redis.call('ZREM', rooms, room)
  return length
end

-- trim_room drops the oldest entries of a room, until there is room for some new ones.
local function trim_room(room, length, extra)
  local key, most = base .. 'room:' .. room, room_bytes * 15 / 16
  local newest_dropped, count, oldest = nil, 0, nil
  if extra == 0 then -- all entries count the same
    count = length - math.floor(most / 1024)
    newest_dropped = position_of(redis.call('LINDEX', key, whole(count - 1)))
  else
    local first_extra = extra
    while (length - count) * 1024 + extra > most and count < length do
      local nth = count % 64
      if nth == 0 then oldest = redis.call('LRANGE', key, whole(count), whole(count + 63)) end
      newest_dropped = position_of(oldest[nth + 1]) or newest_dropped
      extra = extra - math.max(0, #oldest[nth + 1] - 1024)
      count = count + 1
    end
    if extra > 0 then redis.call('HSET', sizes, room, whole(extra)) else redis.call('HDEL', sizes, room) end
    bytes = bytes - (first_extra - math.max(0, extra))
  end
  redis.call('LTRIM', key, whole(count), '-1')
  bytes, dropped = bytes - count * 1024, dropped + count
  redis.call('HSET', cuts, room, whole(newest_dropped or position))
end

-- push_entries writes the new entries of a room. It returns how many its log has.
local function push_entries(room)
  local key, entries = base .. 'room:' .. room, new_entries[room]
  local length = redis.pcall('RPUSH', key, unpack(entries))
  if type(length) == 'table' then
    if not is_foreign(length.err) then error(length.err) end
    drop_room(room)
    redis.call('HSET', cuts, room, whole(position_of(entries[1]) - 1))
    length = redis.call('RPUSH', key, unpack(entries))
  end
  return length
end

-- When a room was written to last is noted so often that its log is kept: for those that the caller
-- names, for new logs, and where casts are written that came with another call (notes_all).
local grain = math.max(1, math.floor(keep_for / 12))
local is_quiet, notes_all = {}, false
for _, room in ipairs(ARGV[15] ~= '' and split(ARGV[15]) or {}) do is_quiet[room] = true end

local function note_room(room)
  redis.call('ZADD', rooms, whole(now + grain), room)
  redis.call('PEXPIRE', base .. 'room:' .. room, whole(keep_for * 2))
end

-- finish_rooms writes what this call adds to the logs, keeps them alive, and trims them.
local function finish_rooms()
  local has_extra = #written_rooms > 0 and redis.call('HLEN', sizes) > 0
  for _, room in ipairs(written_rooms) do
    local length, extra = push_entries(room), extra_bytes[room] or 0
    if extra > 0 then
      extra = redis.call('HINCRBY', sizes, room, extra)
      has_extra = true
    elseif has_extra then
      extra = tonumber(redis.call('HGET', sizes, room) or 0)
    end
    bytes = bytes + #new_entries[room] * 1024 + (extra_bytes[room] or 0)
    if is_quiet[room] or notes_all or length == #new_entries[room] then note_room(room) end
    if length * 1024 + extra > room_bytes then trim_room(room, length, extra) end
  end
  new_entries, written_rooms, extra_bytes = {}, {}, {}
end

local tail = '\168' .. epoch .. '\176'

-- has_records tells of rooms with \1 in front whether a connection has a record in them. Nearly always
-- there is one in all rooms of a call, and then one command tells.
local has_records = {}

local function look_for_records(names)
  local keys = {}
  for room in string.gmatch(names, '\1([^%z]*)') do
    if #keys == 1000 then break end
    if has_records[room] == nil then
      keys[#keys + 1], has_records[room] = base .. 'of:' .. room, true
    end
  end
  if #keys == 0 or redis.call('EXISTS', unpack(keys)) == #keys then return end
  has_records = {}
end

local function has_record(room)
  if has_records[room] == nil then has_records[room] = redis.call('EXISTS', base .. 'of:' .. room) == 1 end
  return has_records[room]
end

local unpublished = {} -- what is published when everything is written: {reply, channels, entry} each

-- log_and_publish gives a message the next position. It returns {position, how many connections
-- receive the message}; the second once it is published.
local function log_and_publish(message, its_rooms, channels)
  position = position + 1
  local at = whole(position)
  local entry = message .. tail .. string.format('%016d', position)
  for _, room in ipairs(its_rooms ~= '' and split(its_rooms) or {}) do
    local is_logged = string.byte(room) ~= 1
    if not is_logged then
      room = string.sub(room, 2)
      is_logged = has_record(room)
    end
    if is_logged then
      local entries = new_entries[room]
      if not entries then
        entries = {}
        new_entries[room], written_rooms[#written_rooms + 1] = entries, room
      end
      entries[#entries + 1] = entry
      if #entry > 1024 then extra_bytes[room] = (extra_bytes[room] or 0) + #entry - 1024 end
    else -- who connects right now misses it in the log; sweep.lua forgets it
      redis.call('HSET', cuts, room, at)
      redis.call('ZADD', base .. 'ended', 'NX', whole(now + 60000), room)
      redis.call('PEXPIRE', base .. 'ended', 600000)
    end
  end
  local reply = {at, 0}
  if channels ~= '' then unpublished[#unpublished + 1] = {reply, channels, entry} end
  return reply
end

-- publish_all comes last: where a command is refused, for want of a right or of memory, nothing is
-- heard that is not in the logs.
local function publish_all()
  for _, one in ipairs(unpublished) do
    for _, channel in ipairs(split(one[2])) do one[1][2] = one[1][2] + redis.call('PUBLISH', channel, one[3]) end
  end
end

-- release appends the casts of a stream that wait, from the place next: those without a gap, or all.
local function release(stream, next_place, all)
  local key = base .. 'stream:' .. stream
  local places = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local place = tonumber(string.match(field, '^m(%d+)$') or '')
    if place then places[#places + 1] = place end
  end
  table.sort(places)
  for _, place in ipairs(places) do
    if place ~= next_place and not all then break end
    notes_all = true
    local names = {'m' .. whole(place), 'r' .. whole(place), 'c' .. whole(place)}
    local cast = redis.call('HMGET', key, unpack(names))
    redis.call('HDEL', key, unpack(names))
    log_and_publish(cast[1], cast[2], cast[3])
    next_place = place + 1
  end
  redis.call('HSET', key, 'next', whole(next_place))
  redis.call('PEXPIRE', key, 600000)
  if all or #places == 0 or places[#places] < next_place then redis.call('ZREM', waiting, stream) end
end

-- append_in_place appends a cast of a stream in its turn.
local function append_in_place(message, stream, place, its_rooms, channels)
  local key = base .. 'stream:' .. stream
  local next_place = tonumber(redis.call('HGET', key, 'next') or 1)
  if place < next_place then return {'late'} end
  if place > next_place then
    if redis.call('HLEN', key) > 3 * 256 then return {'late'} end
    local name = whole(place)
    redis.call('HSET', key, 'm' .. name, message, 'r' .. name, its_rooms, 'c' .. name, channels)
    redis.call('PEXPIRE', key, 600000)
    redis.call('ZADD', waiting, 'NX', whole(now + 2000), stream)
    return {'waits'}
  end
  local reply = log_and_publish(message, its_rooms, channels)
  release(stream, place + 1, false)
  return reply
end

local written = {} -- history to the time of its newest message, its length, its age and whether it was quiet

-- append_cast does all that a cast wants, and returns the answer to it.
local function append_cast(message, its_rooms, channels, stream, place, history, length, age, text)
  if stream ~= '' then return append_in_place(message, stream, tonumber(place), its_rooms, channels) end
  local failure = ''
  if history ~= '' then
    local ok, result = pcall(history_write, history, length, text)
    if not ok then
      failure = type(result) == 'table' and result.err or result
      if not is_foreign(failure) then error(failure) end
    elseif written[history] then
      written[history][1] = result
    else
      written[history] = {result, length, age, is_quiet[split(its_rooms)[1]]}
    end
  end
  local reply = log_and_publish(message, its_rooms, channels)
  reply[3] = failure
  return reply
end

-- finish_writes does what is done once for all casts to a room, or to a history. Where a history is
-- kept for long, it is trimmed when its room was quiet for a while, and expires that much later.
local function finish_writes()
  finish_rooms()
  for key, h in pairs(written) do
    if tonumber(h[3]) < tonumber(keep_for) then
      history_trim(key, h[2], h[3], h[1], 0)
    elseif h[4] or redis.call('PTTL', key) < 0 then
      history_trim(key, h[2], h[3], h[1], grain)
    end
  end
  written = {}
end

-- Casts that were appended before the boundary wait until all nodes have brought theirs, so that
-- they get the order that they had.
local function keep_for_settling(sequence, had, ...)
  local packed = {}
  for i = 1, select('#', ...) do
    local part = select(i, ...) or ''
    packed[i] = #part .. ':' .. part
  end
  local id = node .. ' ' .. string.format('%016d', sequence)
  had = had ~= '' and had or redis.call('HGET', again_casts, '+' .. id) or '9007199254740991'
  redis.call('ZADD', again, had, id)
  redis.call('HSET', again_casts, id, table.concat(packed))
  redis.call('PEXPIRE', again, 600000)
  redis.call('PEXPIRE', again_casts, 600000)
end

local function append_kept(id)
  notes_all = true
  local packed = redis.call('HGET', again_casts, id)
  redis.call('ZREM', again, id)
  redis.call('HDEL', again_casts, id)
  local parts, from = {}, 1
  while packed and from <= #packed do
    local colon = string.find(packed, ':', from, true)
    local length = tonumber(string.sub(packed, from, colon - 1))
    parts[#parts + 1] = string.sub(packed, colon + 1, colon + length)
    from = colon + length + 1
  end
  if #parts == 9 then append_cast(unpack(parts)) end
end

-- try_to_settle appends what was kept, once all nodes have brought theirs or a time is over. It
-- returns false when it is too early, or when there is more than one call should append.
local function try_to_settle()
  if settled == boundary then return true end
  local is_late = is_waited_for()
  if is_late and now < boundary_at + 4000 then return false end
  local ids = redis.call('ZRANGE', again, 0, 499)
  for _, id in ipairs(ids) do append_kept(id) end
  if #ids == 500 then return false end
  if is_late then missed = boundary end
  settled = boundary
  redis.call('UNLINK', again, again_casts)
  redis.call('HSET', head, 'settled', boundary, 'missed', missed)
  return true
end

-- save_head writes what has changed.
local function save_head()
  if position ~= tonumber(found[2] or 0) or floor ~= first_floor or bytes ~= first_bytes or pressed ~= first_pressed then
    redis.call('HSET', head, 'position', whole(position), 'floor', whole(floor), 'bytes', whole(bytes), 'pressed', whole(pressed))
  end
end

if mode == '' and not try_to_settle() then
  finish_writes()
  save_head()
  publish_all()
  return refuse('settling')
end

-- For lack of memory Redis refuses the first write alone, which must come before anything else.
if first then redis.call('HSET', nodes, node, whole(last)) end

local refused_before, refused = ' ' .. (of_node[2] or '') .. ' ', {}
local replies = {}

-- next_cast returns where the arguments of the cast behind that at i begin.
local function next_cast(i)
  if ARGV[i + 4] == '' then return i + 5 end
  return ARGV[i + 8] == '' and i + 9 or i + 15
end

local i, private = 17, {}
while ARGV[i] do
  if string.find(ARGV[i + 1], '\1', 1, true) then private[#private + 1] = ARGV[i + 1] end
  i = next_cast(i)
end
look_for_records(table.concat(private, '\0'))

local sequence = first
i = 17
while ARGV[i] do
  local message, its_rooms, channels, order, history = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local length, age, text, claim = '', '', '', ''
  if history ~= '' then length, age, text, claim = ARGV[i + 5], ARGV[i + 6], ARGV[i + 7], ARGV[i + 8] end
  i = next_cast(i)
  local reply
  if sequence <= last then
    reply = 'again'
    if string.find(refused_before, ' ' .. whole(sequence) .. ' ', 1, true) then reply = 'refused again' end
  else
    last = sequence
    local had, stream, place = '', '', ''
    if order ~= '' then had, stream, place = unpack(split(order)) end
    local standing = claim ~= '' and history_claim(claim, unpack(ARGV, i - 6, i - 1))
    if standing then
      reply, refused[#refused + 1] = standing, whole(sequence)
    elseif mode == 'again' and settled ~= boundary then
      keep_for_settling(sequence, had, message, its_rooms, channels, stream, place, history, length, age, text)
      reply = {'waits'}
    else
      reply = append_cast(message, its_rooms, channels, stream, place, history, length, age, text)
    end
  end
  replies[#replies + 1] = reply
  sequence = sequence + 1
end

if mode == 'done' then
  redis.call('HSET', nodes, node .. ':boundary', boundary)
  if settled ~= boundary then
    for id, at in string.gmatch(ARGV[13], '(%S+ %d+) (%d+) ') do
      redis.call('ZADD', again, 'XX', at, id)
      redis.call('HSET', again_casts, '+' .. id, at)
      redis.call('PEXPIRE', again_casts, 600000)
    end
  end
  try_to_settle()
end

-- Each node calls without a cast twice a second. Then what is due is done.
if not first then
  for _, stream in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', whole(now), 'LIMIT', 0, 64)) do
    release(stream, tonumber(redis.call('HGET', base .. 'stream:' .. stream, 'next') or 1), true)
  end
  finish_writes()
  for _, room in ipairs(redis.call('ZRANGEBYSCORE', rooms, '-inf', whole(now - keep_for), 'LIMIT', 0, 1000)) do drop_room(room, true) end
  if redis.call('ZCARD', rooms) == 0 then bytes = 0 end -- logs that expired were counted until now
end
finish_writes()
while bytes > all_bytes do
  local oldest = redis.call('ZRANGE', rooms, 0, 0)[1]
  if not oldest then -- somebody else has changed what is counted
    bytes = 0
    break
  end
  dropped = dropped + drop_room(oldest)
end

if first then
  redis.call('HSET', nodes, node, whole(last))
  if #refused > 0 then redis.call('HSET', nodes, node .. ':refused', table.concat(refused, ' ')) end
end
if ARGV[14] == '1' then redis.call('HSET', nodes, node .. ':outage', whole(position)) end
save_head()
publish_all()
local listeners = 0
if mode == 'bye' then
  redis.call('ZREM', alive, node)
  if redis.call('EXISTS', base .. 'held:' .. node) == 1 then redis.call('ZADD', alive, whole(now - 60000), node) end
elseif not first then
  if redis.call('ZADD', alive, whole(now), node) == 1 then redis.call('HSET', nodes, node .. ':records', '1') end
  listeners = redis.call('PUBLISH', ARGV[12], epoch .. whole(position))
  -- Nodes that have been gone for ten minutes are forgotten.
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', whole(now - 600000), 'LIMIT', 0, 16)) do
    if redis.call('EXISTS', base .. 'held:' .. gone) == 0 then
      redis.call('ZREM', alive, gone)
      redis.call('HDEL', nodes, gone, gone .. ':boundary', gone .. ':refused', gone .. ':records', gone .. ':outage', gone .. ':swept')
    end
  end
end
local reply = {'ok', epoch, whole(position), boundary, whole(last), missed, dropped, forgot_from, listeners}
for _, r in ipairs(replies) do reply[#reply + 1] = r end
return reply
