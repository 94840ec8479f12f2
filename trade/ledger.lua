-- What every script that moves goods starts with.

-- An amount as it is stored: nil when it is no whole number from 0 to 999999999999999.
local function amount(v)
  if not v then return 0 end
  if #v > 15 or v == '' or string.find(v, '%D') then return nil end
  return tonumber(v)
end

-- A whole number as it is written, below 2^53.
local function text(n) return string.format('%d', n) end

-- Redis's clock, Unix ms.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The inventory fields and quantities that ARGV lists from first to last.
local function goods(first, last)
  local list, n = {}, 0
  for i = first, last do
    n = n + 1
    list[n] = ARGV[i]
  end
  return list
end

-- Works out what an inventory becomes when outs leave it and ins come; writes nothing. items,
-- when given, is the set of known items. Returns {field, amount, …} and {field, …}, what is to be set and what is to go; or
-- nil and a refusal: {'unknown', field}, {'short', field, have}, {'overflow', field}, {'corrupt', key, field}.
local function plan(inventory, outs, ins, most, items)
  local fields, out, come, n = {}, {}, {}, 0
  for i = 1, #outs, 2 do
    n = n + 1
    fields[n], out[n], come[n] = outs[i], tonumber(outs[i + 1]), 0
  end
  local given = n
  for i = 1, #ins, 2 do
    local at
    for k = 1, given do
      if fields[k] == ins[i] then at = k end
    end
    if not at then
      n = n + 1
      at = n
      fields[n], out[n] = ins[i], 0
    end
    come[at] = tonumber(ins[i + 1])
  end
  local set, del = {}, {}
  if n == 0 then return set, del end
  local had = redis.call('HMGET', inventory, unpack(fields))
  local k = 0
  for i = 1, n do
    local field, has = fields[i], amount(had[i])
    if not has then return nil, {'corrupt', inventory, field} end
    if has < out[i] then
      if has == 0 and items and field ~= 'gold' and redis.call('SISMEMBER', items, string.sub(field, 6)) == 0 then
        return nil, {'unknown', field}
      end
      return nil, {'short', field, text(has)}
    end
    local left = has - out[i] + come[i]
    if come[i] > 0 and left > most then return nil, {'overflow', field} end
    if left == 0 then
      del[#del + 1] = field
    else
      set[k + 1], set[k + 2] = field, text(left)
      k = k + 2
    end
  end
  return set, del
end

-- Carries a plan out.
local function write(inventory, set, del)
  if del[1] then redis.call('HDEL', inventory, unpack(del)) end
  if set[1] then redis.call('HSET', inventory, unpack(set)) end
end

-- The newest entry: its number and its hash, 0 and '' while there is none; and whether there is one for ref.
local function head(index, ref)
  local h = redis.call('HMGET', index, 'head', ref)
  if not h[1] then return 0, '', h[2] end
  local seq, hash = string.match(h[1], '^(%d+):(%x+)$')
  return tonumber(seq), hash, h[2]
end

-- Appends one entry. The caller has seen that there is none for ref, and has written nothing yet: a ledger of a wrong type ends
-- the script here.
local function append(ledger, index, seq, prev, kind, ref, at, body)
  seq = text(seq + 1)
  local hash = redis.sha1hex(table.concat({prev, seq, kind, ref, at, body}, '\n'))
  local id = redis.call('XADD', ledger, '*', 'seq', seq, 'kind', kind, 'ref', ref, 'at', at, 'body', body, 'prev', prev, 'hash', hash)
  redis.call('HSET', index, ref, id, 'head', seq .. ':' .. hash)
end
