package otlp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A sender sends spans to a collector. It does not try again: what is new matters more than what
// could not be sent.
type sender struct {
	endpoint string
	client   *http.Client
	closed   context.Context // ends what is under way
}

// maxAnswer is how much of the collector's answer is read, in bytes.
const maxAnswer = 4096

// ExportSpans implements sdktrace.SpanExporter.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, err := json.Marshal(encodeSpans(spans))
	if err != nil {
		return fmt.Errorf("otlp: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("otlp: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("otlp: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("otlp: the collector answers %s", res.Status)
	}
	var result struct {
		PartialSuccess struct {
			RejectedSpans jsontext.Value `json:"rejectedSpans"` // a number, or a text with one
			ErrorMessage  string         `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(answer, &result) != nil {
		return nil // it took them, and says something else about it
	}
	switch rejected := strings.Trim(string(result.PartialSuccess.RejectedSpans), `"`); rejected {
	case "", "0", "null": // a message alone is a warning
	default:
		return fmt.Errorf("otlp: the collector refuses %.20s spans: %q", rejected, result.PartialSuccess.ErrorMessage)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (s *sender) Shutdown(context.Context) error {
	s.client.CloseIdleConnections()
	return nil
}

// The messages of OTLP, as JSON has them (opentelemetry-proto, trace/v1/trace.proto): ids are
// hexadecimal, and numbers of 64 bits are texts.
type (
	traceData struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resourceData `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resourceData struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scopeData  `json:"scope"`
		Spans []spanData `json:"spans"`
	}
	scopeData struct {
		Name string `json:"name"`
	}
	spanData struct {
		TraceID      string     `json:"traceId"`
		SpanID       string     `json:"spanId"`
		ParentSpanID string     `json:"parentSpanId,omitempty"`
		Name         string     `json:"name"`
		Kind         int        `json:"kind"`
		Start        string     `json:"startTimeUnixNano"`
		End          string     `json:"endTimeUnixNano"`
		Attributes   []keyValue `json:"attributes"`
		Status       statusData `json:"status"`
	}
	statusData struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitzero"` // 2: an error
	}
	keyValue struct {
		Key   string    `json:"key"`
		Value textValue `json:"value"`
	}
	textValue struct {
		Text string `json:"stringValue"`
	}
)

// statusError is the code of a span that failed.
const statusError = 2

// encodeSpans returns the message with spans of one provider.
func encodeSpans(spans []sdktrace.ReadOnlySpan) traceData {
	scope := scopeSpans{Scope: scopeData{spans[0].InstrumentationScope().Name}}
	for _, s := range spans {
		d := spanData{
			TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(),
			Name: s.Name(), Kind: int(s.SpanKind()), Attributes: encodeAttributes(s.Attributes()),
			Start: strconv.FormatInt(s.StartTime().UnixNano(), 10), End: strconv.FormatInt(s.EndTime().UnixNano(), 10),
		}
		if parent := s.Parent(); parent.SpanID().IsValid() {
			d.ParentSpanID = parent.SpanID().String()
		}
		if s.Status().Code == codes.Error {
			d.Status = statusData{s.Status().Description, statusError}
		}
		scope.Spans = append(scope.Spans, d)
	}
	return traceData{[]resourceSpans{{resourceData{encodeAttributes(spans[0].Resource().Attributes())}, []scopeSpans{scope}}}}
}

func encodeAttributes(attributes []attribute.KeyValue) []keyValue {
	all := make([]keyValue, 0, len(attributes))
	for _, a := range attributes {
		all = append(all, keyValue{string(a.Key), textValue{a.Value.String()}})
	}
	return all
}
