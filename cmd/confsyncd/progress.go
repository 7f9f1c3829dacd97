package main

import (
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	// progressAfter is how long work takes before a bar tells how far it is.
	progressAfter = 500 * time.Millisecond
	// progressEvery is how often the bar is drawn anew.
	progressEvery = 100 * time.Millisecond
)

// progress shows a person how far long work is, on standard error, if that is a
// terminal. It may be used by several goroutines.
type progress struct {
	app   *app
	shown bool // if it lasts
	begin time.Time

	mu   sync.Mutex // guards what follows
	what string
	bar  *progressbar.ProgressBar // nil while nothing is shown
}

// progress begins work that may be long. end must be called.
func (a *app) progress() *progress {
	return &progress{app: a, shown: terminal(a.err) && a.output != "json" && os.Getenv("TERM") != "dumb", begin: time.Now()}
}

// bytes tells how many bytes of something are done.
func (p *progress) bytes(what string, done, total int64) { p.set(what, done, total, true) }

// count tells how many things are done.
func (p *progress) count(what string, done, total int) { p.set(what, int64(done), int64(total), false) }

func (p *progress) set(what string, done, total int64, bytes bool) {
	if !p.shown || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil && time.Since(p.begin) < progressAfter {
		return
	}
	if p.bar == nil || p.what != what {
		p.clear()
		p.what = what
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.app.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(bytes), progressbar.OptionShowCount(), progressbar.OptionThrottle(progressEvery),
			progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true))
	}
	p.bar.ChangeMax64(max(total, done))
	// What cannot be drawn is not worth an error.
	_ = p.bar.Set64(done)
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.shown = false
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
