package metrics

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plain is the content type of what people read.
const plain = "text/plain; charset=utf-8"

// handler answers all that is asked.
func (s *Server) handler(profile bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, contentType, s.options.Text())
	})
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	if profile {
		mux.HandleFunc("GET /debug/pprof/{$}", profiles)
		mux.HandleFunc("GET /debug/pprof/{name}", profileNamed)
		mux.HandleFunc("GET /debug/pprof/profile", profileProcessor)
	}
	return mux
}

// answer writes an answer. Who went away meanwhile is nobody to tell.
func answer(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if err := s.options.Alive(); err != nil {
		answer(w, http.StatusServiceUnavailable, plain, []byte(err.Error()+"\n"))
		return
	}
	answer(w, http.StatusOK, plain, []byte("ok\n"))
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	lines, ready := s.options.Ready()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, plain, []byte(strings.Join(lines, "\n")+"\n"))
}

// profiles lists what there is.
func profiles(w http.ResponseWriter, _ *http.Request) {
	names := []string{"profile?seconds=30"}
	for _, p := range pprof.Profiles() {
		names = append(names, fmt.Sprintf("%s?debug=1", p.Name()))
	}
	slices.Sort(names)
	answer(w, http.StatusOK, plain, []byte(strings.Join(names, "\n")+"\n"))
}

// profileNamed gives one of Go's profiles: for "go tool pprof", or with debug=1 for people;
// that of the heap with gc=1 after a collection.
func profileNamed(w http.ResponseWriter, r *http.Request) {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		http.Error(w, "there is no such profile; see /debug/pprof/", http.StatusNotFound)
		return
	}
	if p.Name() == "heap" && r.FormValue("gc") != "" {
		runtime.GC() // What it tells is as of the last one.
	}
	debug, _ := strconv.Atoi(r.FormValue("debug")) // else it is for the tool
	kind := "application/octet-stream"
	if debug > 0 {
		kind = plain
	}
	w.Header().Set("Content-Type", kind)
	_ = p.WriteTo(w, debug) // Who went away meanwhile is nobody to tell.
}

// profileProcessor gives a profile of the processor, over 30 seconds or those asked for.
func profileProcessor(w http.ResponseWriter, r *http.Request) {
	took := 30 * time.Second
	if seconds := r.FormValue("seconds"); seconds != "" {
		n, err := strconv.Atoi(seconds)
		took = time.Duration(n) * time.Second
		if err != nil || took <= 0 || took > profileMost {
			http.Error(w, fmt.Sprintf("seconds: write a number from 1 to %.0f", profileMost.Seconds()), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, "a profile is being made already", http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(took):
	case <-r.Context().Done():
	}
}
