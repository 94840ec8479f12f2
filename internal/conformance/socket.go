package main

import "net/http"

func socketMode(*http.ServeMux) (stop func()) { return func() {} }
