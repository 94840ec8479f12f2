-- Spends the events of many callers, each as spend.lua says, in half the time that as many
-- calls would take Redis: what a call costs, and the clock, are paid once.
-- KEYS     the windows of all events, one event after the other
-- ARGV[1]  a byte for each event: which of the following lists is its own, from 1
-- ARGV[2…] the lists: how many windows, how many arguments, and these, which are those of
--          spend.lua
-- returns  what spend.lua does, for each event in order; where it fails why, as a string: nobody
--          else is touched by it. An error that is nested in a list may end the client's reading
--          there, and the rest would be taken for the next answer
local function spend(KEYS, ARGV)
  -- here stands spend.lua
end

local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local lists, i = {}, 2
while i <= #ARGV do
  local list, n = {windows = ARGV[i] + 0}, ARGV[i + 1] + 0
  for k = 1, n do list[k] = ARGV[i + 1 + k] end
  for k = 1, 2 * list.windows, 2 do list[k] = list[k] + 0 end -- limits, once for all
  local clock = 2 * list.windows + 1
  if (list[clock] or '') == '' then list[clock] = now end
  lists[#lists + 1], i = list, i + 2 + n
end

local answers, at, event, pcall = {}, 0, {}, pcall
for k = 1, #ARGV[1] do
  local list = lists[string.byte(ARGV[1], k)]
  if list.windows > 1 or #event > 1 then event = {} end
  for w = 1, list.windows do event[w] = KEYS[at + w] end
  at = at + list.windows
  local ok, answer = pcall(spend, event, list)
  if not ok then answer = type(answer) == 'table' and answer.err or tostring(answer) end
  answers[k] = answer
end
return answers
