package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/sessions"
)

func Example() {
	server, err := miniredis.Run() // any Redis
	if err != nil {
		panic(err)
	}
	defer server.Close()
	store := sessions.New(redis.NewClient(&redis.Options{Addr: server.Addr()}), sessions.Config{})
	service := auth.New(store, auth.Config{Dev: true})

	// A guest logs in …
	login := httptest.NewRequest(http.MethodPost, "/auth/login", strings.NewReader(`{"username":"ann"}`))
	login.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	service.Login(answer, login)
	fmt.Println(answer.Code)

	// … and connects with the cookie, from a page of this host.
	handshake := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/socket.io/", nil)
	handshake.AddCookie(answer.Result().Cookies()[0])
	handshake.Header.Set("Origin", "http://127.0.0.1:8080")
	session, err := service.Authenticate(context.Background(), nil, service.HandshakeHeader(handshake))
	fmt.Println(session.Username, err)

	_, err = service.Authenticate(context.Background(), []byte(`{"sessionId":"guessed"}`), nil)
	fmt.Println(err)
	// Output:
	// 201
	// ann <nil>
	// SESSION_INVALID: Invalid session
}
