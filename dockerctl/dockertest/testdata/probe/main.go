// Command probe is what the tests run in containers.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "sleep": // until asked to stop
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("asleep") // and from now on it listens
		<-c
		fmt.Println("awake")
		return nil
	case "stubborn": // until killed
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("asleep")
		for range time.Tick(time.Hour) {
		}
		return nil
	case "exit":
		n, err := strconv.Atoi(args[0])
		if err == nil {
			os.Exit(n)
		}
		return err
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return nil
	case "cat":
		data, err := os.ReadFile(args[0])
		os.Stdout.Write(data)
		return err
	case "until": // until the file holds the text
		for data, _ := os.ReadFile(args[0]); string(data) != args[1]; data, _ = os.ReadFile(args[0]) {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	case "unlink":
		return os.Remove(args[0])
	case "mode":
		info, err := os.Stat(args[0])
		if err == nil {
			fmt.Println(info.Mode())
		}
		return err
	case "nofile":
		var l syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
		fmt.Println(l.Cur, l.Max)
		return err
	case "both": // n lines on each stream
		n, err := strconv.Atoi(args[0])
		for i := range n {
			fmt.Println("out", i)
			fmt.Fprintln(os.Stderr, "err", i)
		}
		return err
	case "ticks": // n lines, a tenth of a second apart
		n, err := strconv.Atoi(args[0])
		tenth := time.NewTicker(100 * time.Millisecond)
		defer tenth.Stop()
		for i := range n {
			fmt.Println("tick", i)
			<-tenth.C
		}
		return err
	case "serve":
		return serve(args[0], args[1])
	case "answer":
		return answer(args[0], args[1], args[2])
	case "ask":
		return ask(args[0])
	case "dial": // join the standard streams to a socket
		c, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		go io.Copy(c, os.Stdin)
		_, err = io.Copy(os.Stdout, c)
		return err
	case "send":
		c, err := net.Dial("udp", args[0])
		if err == nil {
			_, err = c.Write([]byte(args[1]))
		}
		return err
	case "refused": // calls a server n times and tells statsd, whatever comes of it
		return refused(args[0], args[1], args[2])
	case "count": // n times, some each millisecond, in packets of their own
		return count(args[0], args[1], args[2], args[3])
	}
	return fmt.Errorf("unknown verb %q", verb)
}

// serve answers each connection with the reply, until asked to stop.
func serve(addr, reply string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	go func() { <-c; os.Exit(0) }()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(conn, reply)
		conn.Close()
	}
}

// ask prints what the server replies, trying for ten seconds.
func ask(addr string) error {
	end := time.Now().Add(10 * time.Second)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		reply, err := askOnce(addr)
		if err == nil && reply != "" {
			fmt.Print(reply)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no reply from %s: %v", addr, err)
		}
		<-again.C
	}
}

func askOnce(addr string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	reply, err := io.ReadAll(conn)
	return string(reply), err
}

// count sends n statsd packets of one hit each, some in each millisecond.
func count(network, addr, n, each string) error {
	total, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	some, err := strconv.Atoi(each)
	if err != nil {
		return err
	}
	c, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	ms := time.NewTicker(time.Millisecond)
	defer ms.Stop()
	for i := range total {
		if i%some == 0 {
			<-ms.C
		}
		if _, err := io.WriteString(c, "hits:1|c"); err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
	}
	return nil
}

// refused is a generator that takes errors for results: it ends well.
func refused(server, statsd, n string) error {
	total, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	c, err := net.Dial("udp", statsd)
	if err != nil {
		return err
	}
	defer c.Close()
	for range total {
		text := "req.count:1|c\nreq.errors:0|c"
		if _, err := askOnce(server); err != nil {
			text = "req.count:1|c\nreq.errors:1|c"
		}
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
	}
	return nil
}
