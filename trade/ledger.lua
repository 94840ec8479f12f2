-- What every script that writes the ledger starts with.

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
