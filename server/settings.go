package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/throttle"
)

// This file says with which settings a node runs, without secrets.

// flagNames are the flags of the fields of Config whose name does not follow from the field's.
var flagNames = map[string]string{
	"NoClientFiles":                "serve-client",
	"RedisURL":                     "redis",
	"RedisCAFile":                  "redis-ca",
	"RedisCertFile":                "redis-cert",
	"RedisKeyFile":                 "redis-key",
	"SentinelLogin":                "redis-sentinel-login",
	"LockRedisURLs":                "lock-redis",
	"JWTKeySet":                    "jwt-jwks",
	"ExpressSessions":              "session-source",
	"ExpressSecretFile":            "session-secret-file",
	"Policies":                     "limit",
	"PolicyEvents":                 "policies",
	"NoLocalLimits":                "limit-fallback",
	"APIAddr":                      "api-addr",
	"APIKeysFile":                  "api-keys-file",
	"APIClientCA":                  "api-client-ca",
	"WebhookURL":                   "webhook-url",
	"WebhookCAFile":                "webhook-ca-file",
	"MaxHTTPConnectionsPerAddress": "max-http-connections-per-address",
	"HTTPIdleTimeout":              "http-idle-timeout",
}

// unsetFields are the fields of Config that are no settings of an operator.
var unsetFields = map[string]bool{"Features": true, "Out": true, "LogTo": true, "ServiceManager": true, "Listeners": true, "ReloadPolicies": true, "Reload": true}

// flagOf returns the name of the flag that sets a field of Config.
func flagOf(field string) string {
	if name := flagNames[field]; name != "" {
		return name
	}
	var b strings.Builder
	for i, r := range field {
		next := byte('A')
		if i+1 < len(field) {
			next = field[i+1]
		}
		startsWord := i > 0 && unicode.IsUpper(r) && (unicode.IsLower(rune(field[i-1])) || unicode.IsLower(rune(next)))
		if startsWord {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// SettingsOf returns all settings of a configuration by the names of their flags, as texts without
// secrets.
func SettingsOf(c Config) map[string]string { return c.settings() }

// settings returns all settings by the names of their flags, as texts without secrets.
func (c Config) settings() map[string]string {
	all := map[string]string{}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		field := v.Type().Field(i).Name
		if !unsetFields[field] {
			all[flagOf(field)] = settingText(field, v.Field(i).Interface())
		}
	}
	return all
}

// settingText returns the value of a field as its flag takes it.
func settingText(field string, value any) string {
	switch field {
	case "RedisURL", "ProfilesURL", "WebhookURL":
		if value == "" {
			return ""
		}
		return redactURL(value.(string))
	case "LockRedisURLs":
		return strings.Join(mapTexts(value.([]string), redisconn.Redact), " ")
	case "SentinelLogin", "ProfilesToken":
		if value == "" {
			return ""
		}
		return "***"
	case "NoClientFiles":
		return strconv.FormatBool(!value.(bool))
	case "ExpressSessions":
		return map[bool]string{true: "express", false: "gateway"}[value.(bool)]
	case "NoLocalLimits":
		return map[bool]string{true: "none", false: "local"}[value.(bool)]
	}
	switch x := value.(type) {
	case []string:
		return strings.Join(x, " ")
	case []throttle.Policy:
		texts := make([]string, len(x))
		for i, p := range x {
			texts[i] = p.Name + "=" + p.Rules()
		}
		slices.Sort(texts)
		return strings.Join(texts, ", ")
	case []Backend:
		texts := make([]string, len(x))
		for i, b := range x {
			texts[i] = b.Summary()
		}
		slices.Sort(texts)
		return strings.Join(texts, ", ")
	case map[string][]string:
		var texts []string
		for _, name := range slices.Sorted(maps.Keys(x)) {
			if len(x[name]) > 0 {
				texts = append(texts, name+": "+strings.Join(x[name], " "))
			}
		}
		return strings.Join(texts, ", ")
	case time.Duration:
		switch {
		case x < 0:
			return "0s"
		case x > 100*365*24*time.Hour:
			return "for ever"
		}
		return x.String()
	}
	if text := fmt.Sprint(value); text != "-1" {
		return text
	}
	return "0" // the field's way to say none
}

func mapTexts(texts []string, change func(string) string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = change(t)
	}
	return out
}

// redactURL hides a login in the URL of Redis, or of another service.
func redactURL(text string) string {
	if strings.HasPrefix(text, "http") {
		scheme, rest, _ := strings.Cut(text, "://")
		if login := strings.LastIndex(rest, "@"); login >= 0 {
			return scheme + "://***@" + rest[login+1:]
		}
		return text
	}
	return redisconn.Redact(text)
}

// differingSettings returns the settings that are not as they are by default, by flag. Of the
// limits only those that differ are named.
func (c Config) differingSettings() map[string]string {
	now, usual := c.settings(), Config{Dev: c.Dev}.WithDefaults().settings()
	usual["dev"] = "false"
	for name, text := range now {
		if text == usual[name] {
			delete(now, name)
		}
	}
	if limits, ok := now["limit"]; ok {
		standard := strings.Split(usual["limit"], ", ")
		now["limit"] = strings.Join(slices.DeleteFunc(strings.Split(limits, ", "), func(rule string) bool { return slices.Contains(standard, rule) }), ", ")
	}
	return now
}

// settingsHash returns a hash of all settings but secrets and the names of this node, so that two
// nodes can be compared at a glance.
func (c Config) settingsHash() string {
	all := c.settings()
	for _, own := range []string{"addr", "admin-addr", "node"} {
		delete(all, own)
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(sum, "%q=%q\n", name, all[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}
