//go:build !lean

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// ask gets a page from where a daemon has said last that it listens, until the page is as
// it is to be.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: [!] ask CODE NAME PATH REGEXP")
	}
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	want, err := regexp.Compile("(?m)" + args[3])
	ts.Check(err)
	listening := regexp.MustCompile(`"listening for monitoring".*"address":"([^"]+)"`)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var page []byte
	wait(ts, func() error {
		log, err := os.ReadFile(ts.MkAbs(args[1] + ".err"))
		if err != nil {
			return err
		}
		all := listening.FindAllSubmatch(log, -1)
		if len(all) == 0 {
			return fmt.Errorf("%s listens nowhere:\n%s", args[1], log)
		}
		resp, err := client.Get("http://" + string(all[len(all)-1][1]) + args[2])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if page, err = io.ReadAll(resp.Body); err == nil && (resp.StatusCode != code || want.Match(page) == neg) {
			err = fmt.Errorf("%s: %s\n%s", args[2], resp.Status, page)
		}
		return err
	})
	discreet(ts, args[2], page)
}
