package chat_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A report names a message of a channel that the player is in, and has its text from the history,
// not from the player.
func TestReport(t *testing.T) {
	t.Parallel()
	var got []chat.Report
	var failure error
	s, _ := node(t, redistest.Client(t), chat.Config{Reported: func(_ context.Context, r chat.Report) error {
		got = append(got, r)
		return failure
	}})
	sent, err := send(t, s, ann, say("well"))
	require.NoError(t, err)
	var out chat.Reported
	require.Eventually(t, func() bool { // the history is written behind the answer, because nothing is logged here
		out, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: sent.ID, Reason: "spam"})
		return err == nil
	}, 30*time.Second, time.Millisecond, "%v", err)
	require.Equal(t, chat.Reported{Channel: "global", ID: sent.ID}, out)
	require.Len(t, got, 1)
	require.Equal(t, "well", got[0].Message.Text)
	require.Equal(t, ann.UserID, got[0].By.UserID)
	require.Equal(t, "spam", got[0].Reason)

	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: "01JZZZZZZZZZZZZZZZZZZZZZZZ"})
	require.ErrorIs(t, err, fault.ErrNotFound)
	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: "x"})
	require.ErrorIs(t, err, fault.ErrInvalid)
	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "zone:1", ID: sent.ID})
	require.ErrorIs(t, err, chat.ErrNotInChannel)
	require.Len(t, got, 1)
	failure = errors.New("nobody takes it")
	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: sent.ID})
	require.ErrorIs(t, err, failure, "a report that nobody has is not answered with ok")
}
