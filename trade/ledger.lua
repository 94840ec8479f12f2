-- What every script that moves goods starts with.

-- An amount as it is stored: nil when it is no whole number from 0 to 999999999999999.
local function amount(v)
  if not v then return 0 end
  if #v > 15 or not string.find(v, '^%d+$') then return nil end
  return tonumber(v)
end

local function text(n) return string.format('%.0f', n) end

-- Redis's clock, Unix ms.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The inventory fields and quantities that ARGV lists from first to last.
local function goods(first, last)
  local list = {}
  for i = first, last do list[#list + 1] = ARGV[i] end
  return list
end

-- Works out what an inventory becomes when outs leave it and ins come; writes nothing. items,
-- when given, is the set of known items. Returns {set = {field, amount, …}, del = {field, …}}; or
-- nil and a refusal: {'unknown', field}, {'short', field, have}, {'overflow', field}, {'corrupt', key, field}.
local function plan(inventory, outs, ins, most, items)
  local fields, take, give = {}, {}, {}
  for i = 1, #outs, 2 do
    fields[#fields + 1] = outs[i]
    take[outs[i]] = tonumber(outs[i + 1])
  end
  for i = 1, #ins, 2 do
    if not take[ins[i]] then fields[#fields + 1] = ins[i] end
    give[ins[i]] = tonumber(ins[i + 1])
  end
  local p = {set = {}, del = {}}
  if #fields == 0 then return p end
  local had = redis.call('HMGET', inventory, unpack(fields))
  for i, field in ipairs(fields) do
    local has = amount(had[i])
    if not has then return nil, {'corrupt', inventory, field} end
    local out, come = take[field] or 0, give[field] or 0
    if has < out then
      if has == 0 and items and field ~= 'gold' and redis.call('SISMEMBER', items, string.sub(field, 6)) == 0 then
        return nil, {'unknown', field}
      end
      return nil, {'short', field, text(has)}
    end
    local left = has - out + come
    if come > 0 and left > most then return nil, {'overflow', field} end
    if left == 0 then
      p.del[#p.del + 1] = field
    else
      p.set[#p.set + 1] = field
      p.set[#p.set + 1] = text(left)
    end
  end
  return p
end

-- Carries a plan out.
local function write(inventory, p)
  if #p.del > 0 then redis.call('HDEL', inventory, unpack(p.del)) end
  if #p.set > 0 then redis.call('HSET', inventory, unpack(p.set)) end
end

-- The newest entry: its number and its hash; 0 and '' while there is none. It also touches
-- both keys, so that a key of a wrong type ends the script before anything is written.
local function head(ledger, index)
  redis.call('XLEN', ledger)
  local h = redis.call('HGET', index, 'head')
  if not h then return 0, '' end
  local seq, hash = string.match(h, '^(%d+):(%x+)$')
  return tonumber(seq), hash
end

-- Appends one entry. The caller has seen that the index does not hold ref.
local function append(ledger, index, seq, prev, kind, ref, at, body)
  seq = text(seq + 1)
  local hash = redis.sha1hex(table.concat({prev, seq, kind, ref, at, body}, '\n'))
  local id = redis.call('XADD', ledger, '*', 'seq', seq, 'kind', kind, 'ref', ref, 'at', at, 'body', body, 'prev', prev, 'hash', hash)
  redis.call('HSET', index, ref, id, 'head', seq .. ':' .. hash)
end
