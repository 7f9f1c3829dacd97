package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// patience bounds what a test waits for.
const patience = time.Minute

// serving is a server that runs.
type serving struct {
	*Server
	end  func()
	told tell // lines of its log
}

// running runs a server until the test ends.
func running(t *testing.T, o Options) *serving {
	t.Helper()
	told := make(tell, 100)
	o.Log = hclog.New(&hclog.LoggerOptions{Output: told, JSONFormat: true})
	s := NewServer(o)
	s.again = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return &serving{s, end, told}
}

// listen has the server answer at a free port, and returns its address.
func (s *serving) listen(t *testing.T, profile bool) string {
	t.Helper()
	s.Listen(Listening{Address: "127.0.0.1:0", Profile: profile, Key: fmt.Sprint(profile)})
	var line struct {
		Message string `json:"@message"`
		Address string `json:"address"`
	}
	if err := json.Unmarshal([]byte(<-s.told), &line); err != nil || line.Message != "listening for monitoring" {
		t.Fatalf("it says %+v (%v)", line, err)
	}
	return line.Address
}

// ask asks until there is an answer.
func ask(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(b)
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// silent waits until nobody answers at an address.
func silent(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatalf("somebody still answers at %s", address)
		}
	}
}

func TestServerAnswers(t *testing.T) {
	var alive error
	ready := true
	s := running(t, Options{
		Text:  sample().Text,
		Alive: func() error { return alive },
		Ready: func() ([]string, bool) { return []string{"one", "two"}, ready },
	})
	first := s.listen(t, false)
	url := "http://" + first
	is := func(method, path string, status int, body string) {
		t.Helper()
		if got, text := ask(t, method, url+path); got != status || !strings.Contains(text, body) {
			t.Errorf("%s %s: %d\n%s", method, path, got, text)
		}
	}
	is("GET", "/metrics", 200, "confsyncd_build_info{version=")
	is("HEAD", "/metrics", 200, "")
	is("POST", "/metrics", 405, "")
	is("DELETE", "/healthz", 405, "")
	is("GET", "/", 404, "")
	is("GET", "/healthz", 200, "ok\n")
	is("GET", "/readyz", 200, "one\ntwo\n")
	is("GET", "/debug/pprof/", 404, "")
	alive, ready = errors.New("no sign of life"), false
	is("GET", "/healthz", 503, "no sign of life\n")
	is("GET", "/readyz", 503, "one\ntwo\n")

	second := s.listen(t, true)
	silent(t, first)
	url = "http://" + second
	is("GET", "/debug/pprof/", 200, "goroutine")
	is("GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	is("GET", "/debug/pprof/heap", 200, "\x1f\x8b") // compressed
	is("GET", "/debug/pprof/profile?seconds=1", 200, "\x1f\x8b")
	is("GET", "/debug/pprof/profile?seconds=0", 400, "from 1 to 60")
	is("GET", "/debug/pprof/other", 404, "no such profile")

	s.Listen(Listening{})
	silent(t, second)
	third := s.listen(t, false)
	ask(t, "GET", "http://"+third+"/healthz")
	s.end()
	silent(t, third)
}

func TestServerEndsWhileAProfileIsMade(t *testing.T) {
	s := running(t, Options{})
	address := s.listen(t, true)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for status := http.StatusConflict; status == http.StatusConflict; { // with the test's own
			resp, err := client.Get("http://" + address + "/debug/pprof/profile?seconds=60")
			if err != nil {
				return
			}
			resp.Body.Close()
			status = resp.StatusCode
		}
	}()
	for end := time.Now().Add(patience); pprof.StartCPUProfile(io.Discard) == nil; time.Sleep(10 * time.Millisecond) {
		pprof.StopCPUProfile()
		if time.Now().After(end) {
			t.Fatal("a profile is not made")
		}
	}
	begin := time.Now()
	s.end()
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it ended after %v", took)
	}
	<-asked
}

func TestABusyAddressIsToldAndTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := running(t, Options{Alive: func() error { return nil }})
	address := l.Addr().String()
	s.Listen(Listening{Address: address, Key: "[http] agent"})
	if line := <-s.told; !strings.Contains(line, "listening for monitoring failed") || !strings.Contains(line, address) || !strings.Contains(line, "[http] agent") {
		t.Errorf("it says %s", line)
	}
	l.Close()
	if status, _ := ask(t, "GET", "http://"+address+"/healthz"); status != 200 {
		t.Errorf("status %d", status)
	}
	if line := <-s.told; !strings.Contains(line, "works again") {
		t.Errorf("it says %s", line)
	}
}

// tell is a writer that hands on what is written.
type tell chan string

func (c tell) Write(b []byte) (int, error) {
	c <- string(b)
	return len(b), nil
}
