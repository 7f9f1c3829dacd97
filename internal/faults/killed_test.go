//go:build faults

package faults

import "time"

// killedCases end processes in the midst of what they do.
func killedCases() []Case {
	return []Case{
		{
			Name: "agent and publisher at random moments",
			How:  "SIGKILL again and again while files are edited, and started again at once",
			Try: func(w *World) {
				for range 10 {
					w.Edit(5)
					time.Sleep(time.Duration(w.Writer.Draw(60)) * time.Millisecond)
					w.do(w.Target.Daemon.Kill())
					w.Honest()
					w.Agent()
					w.Edit(5)
					time.Sleep(time.Duration(w.Writer.Draw(60)) * time.Millisecond)
					w.do(w.Source.Daemon.Kill())
					w.Publish()
					w.Count("kills", 2)
				}
				w.Healed()
			},
		},
	}
}
