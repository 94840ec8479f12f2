-- Writes messages to the history of a channel, where casts are not logged. A claim is one message
-- that may be refused: because it was sent before with the same idempotency key, or because the
-- channel is slow. In front stand the functions about records (internal/once/record) and about
-- histories (internal/castlog).
--
-- KEYS[1]  the channel's history, a stream
-- KEYS[2]  only for a claim: exists while the sender must wait
-- KEYS[3]  only for a claim with an idempotency key: the record
-- ARGV[1]  about how many messages are kept; 0 for none
-- ARGV[2]  how long a message is kept, ms
-- Only for a claim, then:
--   how long the sender must wait after this message, ms; 0 when the channel is not slow
--   with a record, for once_check and once_answer, and otherwise '' four times: the token, the
--   digest, how long the answer is kept (ms), the answer
-- Then the messages, as JSON.
-- returns  {'said'} when the messages were written, or what history_claim says
local first = 3
if #KEYS > 1 then
  first = 8
  local standing = history_claim(KEYS[2], ARGV[3], KEYS[3] or '', ARGV[4], ARGV[5], ARGV[6], ARGV[7])
  if standing then return standing end
end
local at
for i = first, #ARGV do at = history_write(KEYS[1], ARGV[1], ARGV[i]) end
history_trim(KEYS[1], ARGV[1], ARGV[2], at, 0)
return {'said'}
