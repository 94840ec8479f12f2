-- Functions for scripts that change a trade under an idempotency key; those of package once stand in
-- front. Such a script is called with the record of the key behind its other keys, and with the
-- claim's token, digest, keep (ms) and answer as its last four arguments; else with none of them.

-- once_refusal tells why a script must do nothing: {'once', 'answer', text} the key was used, and
-- text is the first answer; {'once', 'lost', ''} another holder has the claim.
local function once_refusal(record, args)
  local refused = record and once_check(record, args[#args - 3], args[#args - 2])
  if refused then return {'once', refused[1], refused[2] or ''} end
end

-- once_record records a trade as the answer, from its id and its hash, a list of fields and values.
local function once_record(record, args, id, list)
  if not record then return end
  local t = {}
  for i = 1, #list, 2 do t[list[i]] = list[i + 1] end
  local function party(side)
    return '{"userId":' .. cjson.encode(t[side .. ':user']) .. ',"characterId":' .. cjson.encode(t[side .. ':character'])
      .. ',"offer":' .. t[side .. ':offer'] .. ',"accepted":' .. (t[side .. ':accepted'] == '1' and 'true' or 'false') .. '}'
  end
  once_answer(record, args[#args - 2], args[#args - 1], '+{"tradeId":' .. cjson.encode(id)
    .. ',"status":' .. cjson.encode(t.status) .. ',"version":' .. t.version
    .. ',"parties":[' .. party('a') .. ',' .. party('b') .. ']'
    .. ',"createdAt":' .. t.createdAt .. ',"expiresAt":' .. t.expiresAt
    .. (t.reason and ',"reason":' .. cjson.encode(t.reason) or '') .. '}')
end
