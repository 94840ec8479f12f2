-- Functions of gift.lua, and what the gifts of one call share.

-- nothing_stands tells that no lock of these gifts is held, and that no idempotency key of them was
-- used before this call. written are the records that were written since.
local nothing_stands, written = false, {}

-- Looks up what all gifts need, by one command each.
local function look_up_gifts(KEYS, lists)
  local refs, names, each = {}, {}, 4 + LEASED
  for i = 1, #lists do
    refs[i] = lists[i][1]
    names[2 * i - 1], names[2 * i] = KEYS[each * i - LEASED - 1], KEYS[each * i - LEASED]
  end
  look_up(INDEX, refs)
  if LEASED == 0 then nothing_stands = redis.call('EXISTS', unpack(names)) == 0 end
end

-- Tells that no other holder can have a lock of these gifts.
local function is_free() return nothing_stands end

-- Returns the record of an idempotency key, false or nil when there is none.
local function record_of(key)
  if nothing_stands then return written[key] end
  return redis.call('GET', key)
end

local function write_record(key, text)
  redis.call('SET', key, text, 'PX', KEEP)
  written[key] = text
end

-- Undoes write_record, also when that has failed.
local function restore_record(key, before)
  written[key] = nil
  if before then
    redis.call('SET', key, before, 'PX', KEEP)
  else
    redis.call('DEL', key)
  end
end
