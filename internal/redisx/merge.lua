-- Runs the calls of many callers, one after the other. When one fails, the others still run.
-- KEYS     the keys of all calls, one call after the other
-- ARGV[1]  two bytes for each list of arguments: how many keys its calls have, and how many
--          arguments it has
-- ARGV[2]  a byte for each call: which of the lists is its own, from 1; '' when each call has one
-- ARGV[3…] the arguments of all lists
-- returns  {answers, failures}. answers has one for each call. failures is a list: the index of a
--          call that failed, its error as a string, and so on. It is a string because a client may
--          stop reading at an error that is nested in a list, and would take the rest for the next
--          answer. READONLY is the error of all calls: nothing was written, and the client has to
--          look for the master
local byte, pcall, type = string.byte, pcall, type
local counts, plan, sizes, lists, v = ARGV[1], ARGV[2], {}, {}, 2
for i = 1, #counts / 2 do
  local keys, args = byte(counts, 2 * i - 1, 2 * i)
  sizes[i], lists[i], v = keys, {unpack(ARGV, v + 1, v + args)}, v + args
end
-- here stands Prepare
local answers, failures, own, size, k, n = {}, {}, {}, 0, 0
for i = 1, plan == '' and #lists or #plan do
  n = byte(plan, i) or i
  if sizes[n] ~= size then own, size = {}, sizes[n] end
  for key = 1, size do own[key] = KEYS[k + key] end
  k = k + size
  local ok, answer = pcall(call, own, lists[n])
  if not ok or type(answer) == 'table' and answer.err then
    local why = reason(answer)
    if string.find(why, '^READONLY') then return {err = why} end
    failures[#failures + 1] = i
    failures[#failures + 1] = why
    answer = false
  end
  answers[i] = answer or false -- a list ends at its first nil
end
-- here stands After
return {answers, failures}
