-- Runs the calls of many callers, one after the other. Where one fails, the others run all the same.
-- KEYS     the keys of all calls, one call after the other
-- ARGV[1]  two bytes for each call: how many keys it has, how many arguments
-- ARGV[2…] the arguments of all calls
-- returns  {answers, failures}: answers has one for each call; failures lists which of them stands for an error, and
--          what the error is, as words: an error that is nested in a list may end the client's reading there,
--          and the rest would be taken for the next answer. READONLY is everybody's: nothing was written, and
--          the client looks for the master
local counts, k, v, answers, failures = ARGV[1], 0, 1, {}, {}
for i = 1, #counts / 2 do
  local keys, args = string.byte(counts, 2 * i - 1, 2 * i)
  local ok, answer = pcall(call, {unpack(KEYS, k + 1, k + keys)}, {unpack(ARGV, v + 1, v + args)})
  k, v = k + keys, v + args
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
