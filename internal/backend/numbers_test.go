package backend

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
)

// Numbers that take long to compute with, or have no value at all, are refused before that.
func TestNumbersOutOfRange(t *testing.T) {
	t.Parallel()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(`{"properties":{"n":{"type":"number","minimum":0},"all":{"items":{"type":"integer"}}}}`)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("x.json", document))
	schema, err := compiler.Compile("x.json")
	require.NoError(t, err)
	for payload, field := range map[string]string{
		`{"n":1e2000000}`: "n", `{"n":1e999999}`: "n", `{"n":1E-999999}`: "n", `{"n":1e99999999999999999999}`: "n",
		`{"n":` + strings.Repeat("9", 65) + `}`:              "n",
		`{"all":[1,1e999999]}`:                               "all[1]",
		`{"all":[` + strings.Repeat("1,", maxValues) + `1]}`: "all",
	} {
		var f *fault.Fault
		require.ErrorAs(t, validateValue(schema, []byte(payload)), &f, "%.40s", payload)
		require.Equal(t, fault.ErrInvalid.Code, f.Code)
		require.Contains(t, f.Detail("field"), field)
	}
	require.NoError(t, validateValue(schema, []byte(`{"n":1.5e308,"all":[0,-1e3]}`)))
}
