-- Every script that moves goods starts with these functions. Goods are a part of a list:
-- inventory field, quantity, field, quantity, …

-- announce is told of each entry that was appended: kind, ref and body. Lua behind these functions may
-- set it. It must not fail.
local announce

-- The largest amount of an inventory field; the smallest is 0.
local HIGHEST = 999999999999999

-- Writes a whole number below 2^53.
local function text(n) return string.format('%d', n) end

-- now is Redis's clock, Unix ms; stamp is the same as text.
local time, written
local function now()
  if not time then
    time = redis.call('TIME')
    time = time[1] * 1000 + math.floor(time[2] / 1000)
    written = text(time)
  end
  return time
end
local function stamp()
  return now() and written
end

-- Adds goods to an inventory, or with '-' for sign takes them, whatever it has.
local function move(inventory, sign, list, first, last)
  for i = first, last, 2 do
    if redis.call('HINCRBY', inventory, list[i], sign .. list[i + 1]) == 0 then
      redis.call('HDEL', inventory, list[i])
    end
  end
end

-- Tells why an amount could not be changed: the field holds no amount, or something else is wrong,
-- which is the script's error then.
local function why(inventory, field, failure)
  local of = failure.err
  if string.find(of, 'integer', 1, true) or string.find(of, 'overflow', 1, true) then
    return {'corrupt', inventory, field, of}
  end
  return failure
end

-- Takes goods from an inventory. items, when given, is the set of known items.
-- returns  nothing; or a refusal, with everything as it was: {'unknown', field},
--          {'short', field, have}, {'corrupt', key, field, why}, {err=…}
local function take(inventory, list, first, last, items)
  for i = first, last, 2 do
    local field = list[i]
    local left = redis.pcall('HINCRBY', inventory, field, '-' .. list[i + 1])
    if type(left) == 'table' then
      move(inventory, '', list, first, i - 1)
      return why(inventory, field, left)
    end
    local had = left + list[i + 1]
    if left < 0 or had > HIGHEST then
      move(inventory, '', list, first, i + 1)
      if had < 0 or had > HIGHEST then return {'corrupt', inventory, field, text(had)} end
      if had == 0 and items and field ~= 'gold' then
        local known = redis.pcall('SISMEMBER', items, string.sub(field, 6))
        if type(known) == 'table' then return known end
        if known == 0 then return {'unknown', field} end
      end
      return {'short', field, text(had)}
    end
    if left == 0 then redis.call('HDEL', inventory, field) end
  end
end

-- Adds goods to an inventory, whatever it has.
-- returns  nothing; or, with everything as it was, {'corrupt', key, field, why} or {err=…}
local function add(inventory, list, first, last)
  for i = first, last, 2 do
    local has = redis.pcall('HINCRBY', inventory, list[i], list[i + 1])
    if type(has) == 'table' then
      move(inventory, '-', list, first, i - 1)
      return why(inventory, list[i], has)
    end
  end
end

-- Adds goods to an inventory that may have at most so many of each.
-- returns  nothing; or a refusal, with everything as it was: {'overflow', field},
--          {'corrupt', key, field, why}, {err=…}
local function put(inventory, list, first, last, most)
  for i = first, last, 2 do
    local has = redis.pcall('HINCRBY', inventory, list[i], list[i + 1])
    if type(has) == 'table' then
      move(inventory, '-', list, first, i - 1)
      return why(inventory, list[i], has)
    end
    local had = has - list[i + 1]
    if had < 0 or has > most then
      move(inventory, '-', list, first, i + 1)
      if had < 0 or had > HIGHEST then return {'corrupt', inventory, list[i], text(had)} end
      return {'overflow', list[i]}
    end
  end
end

-- Returns the answer of a script in which a command failed that must not: Redis's error as it is.
local function failed(failure) return type(failure) == 'table' and failure or {err = failure} end

-- seq and prev are the number and hash of the newest entry, once it was looked up. fresh are the
-- refs and stream ids of the entries that were appended since. known has what the index said of refs,
-- false where there was no entry.
local seq, prev
local fresh, known = {}, {}

-- Looks up the newest entry, and whether there are entries for these refs.
local function look_up(index, refs)
  local h = redis.call('HMGET', index, 'head', unpack(refs))
  for i = 1, #refs do known[refs[i]] = h[i + 1] end
  if not seq then seq, prev = string.match(h[1] or '0:', '^(%d+):(%x*)$') end
end

-- Tells whether the ledger has an entry for ref.
local function recorded(index, ref)
  if known[ref] == nil then look_up(index, {ref}) end
  return fresh[ref] or known[ref]
end

-- Appends an entry. The caller has seen that there is none for ref. digest is the hash of kind, ref
-- and body.
local function append(ledger, kind, ref, at, body, digest)
  local n = text(seq + 1)
  local hash = redis.sha1hex(prev .. '\n' .. n .. '\n' .. at .. '\n' .. digest)
  fresh[ref] = redis.call('XADD', ledger, '*', 'seq', n, 'kind', kind, 'ref', ref, 'at', at,
    'body', body, 'prev', prev, 'hash', hash)
  seq, prev = n, hash
  if announce then announce(kind, ref, body) end
end

-- Writes into the index what was appended. A script calls it last.
local function remember(index)
  if not next(fresh) then return end
  local fields = {'head', seq .. ':' .. prev}
  for ref, id in pairs(fresh) do
    fields[#fields + 1] = ref
    fields[#fields + 1] = id
  end
  redis.call('HSET', index, unpack(fields))
end
