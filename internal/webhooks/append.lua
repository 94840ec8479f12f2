-- Functions for scripts whose effects are told to the receiver of webhooks. WEBHOOK_TYPES, the set
-- of the types that are told, and WEBHOOK_MAX, how many events may wait, stand in front.

-- Writes an event, unless its type is not told.
-- id     the id of the event; '' where the place in the stream is its id
-- data   JSON
-- returns  the place in the stream; 0 when too many events wait; false when its type is not told;
--          an error of Redis, as a table
local function write_event(kind, id, data)
  if not WEBHOOK_TYPES[kind] then return false end
  local waiting = redis.pcall('XLEN', 'webhooks:waiting')
  if type(waiting) ~= 'number' then return waiting end
  if waiting >= WEBHOOK_MAX then
    redis.pcall('HINCRBY', 'webhooks:counts', 'dropped', 1)
    return 0
  end
  return redis.pcall('XADD', 'webhooks:waiting', '*', 'type', kind, 'id', id, 'data', data)
end

-- Writes an event as write_event does. It never fails: the script's effect stands. What Redis refuses
-- is counted in Redis. Where Redis refuses that too, the error has the field uncounted.
local function webhook(kind, id, data)
  local got = write_event(kind, id, data)
  if type(got) ~= 'table' then return got end
  if type(redis.pcall('HINCRBY', 'webhooks:counts', 'unwritten', 1)) == 'table' then
    got.uncounted = true
  else
    redis.pcall('HSET', 'webhooks:counts', 'unwrittenWhy', got.err)
  end
  return got
end
