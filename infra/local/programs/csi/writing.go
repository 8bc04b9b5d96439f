package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const writeEvery = 100 * time.Millisecond

// write appends lines `NUMBER WRITER NANOSECONDS` to the file until the context ends. The numbers go on where the file
// ends when it is opened: with two writers at once some would be there twice, without the data they would begin again.
func write(ctx context.Context, path, writer string) error {
	if writer == "" {
		return errors.New("POD_UID is not set")
	}
	number, err := lastNumber(path)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	for next := time.NewTicker(writeEvery); ; {
		number++
		if _, err := fmt.Fprintf(file, "%d %s %d\n", number, writer, time.Now().UnixNano()); err != nil {
			return err
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func lastNumber(path string) (int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(text) == 0) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	var number int
	if _, err := fmt.Sscan(string(lines[len(lines)-1]), &number); err != nil {
		return 0, fmt.Errorf("%s does not end as this program writes it: %w", path, err)
	}
	return number, nil
}

// hasWritten is nil once there is a line of this writer.
func hasWritten(path, writer string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if writer == "" || !bytes.Contains(text, []byte(" "+writer+" ")) {
		return fmt.Errorf("%q has not written into %s yet", writer, path)
	}
	return nil
}
