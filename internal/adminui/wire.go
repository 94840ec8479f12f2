package adminui

import (
	"slices"
	"time"

	"github.com/aeturnis/realtime/internal/nodecall"
)

// This file has what the official page is told, in its words (lib/typed-events.ts).

// config is the event of this name.
type config struct {
	SupportedFeatures []string `json:"supportedFeatures"`
}

// describe returns what the page can do. oneIn is of the sample.
func (u *UI) describe(oneIn int) config {
	features := []string{"AGGREGATED_EVENTS", "ALL_EVENTS"}
	if u.cfg.MayChange {
		features = append(features, "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT")
	}
	if oneIn > 1 {
		features = append(features, "SAMPLED") // ours: the page ignores what it does not know
	}
	return config{features}
}

// A socketView is a player's connection.
type socketView struct {
	ID        string    `json:"id"`
	ClientID  string    `json:"clientId"`
	Transport string    `json:"transport"`
	Namespace string    `json:"nsp"`
	Data      player    `json:"data"`
	Handshake handshake `json:"handshake"`
	Rooms     []string  `json:"rooms"` // the connection's own first
}

type player struct {
	UserID      string `json:"userId"`
	Username    string `json:"username"`
	CharacterID string `json:"characterId,omitzero"`
	Session     string `json:"session"` // a hash
	Node        string `json:"node"`
}

// A handshake has nothing of the request but the address: its headers may hold what logs in.
type handshake struct {
	Address string   `json:"address"`
	Headers struct{} `json:"headers"`
	Query   struct{} `json:"query"`
	Issued  int64    `json:"issued"` // Unix ms
	Time    string   `json:"time"`
	URL     string   `json:"url"`
	Secure  bool     `json:"secure"`
	Xdomain bool     `json:"xdomain"`
}

func viewOf(node string, c nodecall.Connection) socketView {
	return socketView{
		ID: c.Conn, ClientID: c.Conn, Transport: c.Transport, Namespace: "/",
		Data:      player{c.UserID, c.Username, c.CharacterID, c.Session, node},
		Handshake: handshake{Address: c.Addr, Issued: c.OpenedAt, Time: timestamp(time.UnixMilli(c.OpenedAt))},
		Rooms:     append([]string{c.Conn}, c.Rooms...),
	}
}

// size is about how many bytes a view has as JSON.
func (v *socketView) size() int {
	n := 400 + 2*len(v.ID) + len(v.Data.UserID) + 2*len(v.Data.Username) + len(v.Data.CharacterID)
	for _, room := range v.Rooms {
		n += len(room) + 3
	}
	return n
}

// A socketUpdate is what has changed of a socket.
type socketUpdate struct {
	ID        string `json:"id"`
	Namespace string `json:"nsp"`
	Transport string `json:"transport"`
	Data      player `json:"data"`
}

// serverStats is what a node does.
type serverStats struct {
	ServerID   string             `json:"serverId"`
	Hostname   string             `json:"hostname"`
	PID        int                `json:"pid"`
	Uptime     float64            `json:"uptime"` // seconds
	Clients    int                `json:"clientsCount"`
	Polling    int                `json:"pollingClientsCount"`
	Aggregated []aggregatedEvent  `json:"aggregatedEvents"`
	Namespaces []namespaceDetails `json:"namespaces"`
}

// An aggregatedEvent counts what happened since the statistics before.
type aggregatedEvent struct {
	Timestamp int64  `json:"timestamp"`
	Type      string `json:"type"`
	SubType   string `json:"subType,omitzero"`
	Count     int64  `json:"count"`
}

type namespaceDetails struct {
	Name    string `json:"name"`
	Sockets int    `json:"socketsCount"`
}

// statsOf returns what a node does, and what happened on it since before; nil counts nothing.
func statsOf(node string, w, before *nodecall.Watched, now time.Time) serverStats {
	stats := serverStats{
		ServerID: node, Hostname: w.Hostname, PID: w.PID, Uptime: now.Sub(time.UnixMilli(w.StartedAt)).Seconds(), Clients: w.Clients, Polling: w.Polling,
		Aggregated: []aggregatedEvent{}, Namespaces: []namespaceDetails{{"/", w.Players}, {Name, w.Operators}},
	}
	if before == nil || before.StartedAt != w.StartedAt {
		return stats
	}
	add := func(kind, sub string, count int64) {
		if count > 0 {
			stats.Aggregated = append(stats.Aggregated, aggregatedEvent{now.Truncate(time.Second).UnixMilli(), kind, sub, count})
		}
	}
	add("rawConnection", "", w.Opened-before.Opened)
	add("packetsIn", "", w.Events-before.Events)
	for reason, count := range w.Closed {
		add("rawDisconnection", reason, count-before.Closed[reason])
	}
	return stats
}

// timestamp writes a time as JSON has a Date of JavaScript.
func timestamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// difference returns what is in a and not in b.
func difference(a, b []string) (only []string) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			only = append(only, x)
		}
	}
	return only
}
