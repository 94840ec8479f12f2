// Servers that a test file starts end with it, however it ends.
import { spawn } from 'node:child_process';

/**
 * guard starts a watcher that waits for the end of its input, which is the end of this process even
 * by kill -9, and then kills the server. It gives a function that ends the watch.
 */
export function guard(child) {
  const watcher = spawn('sh', ['-c', 'cat >/dev/null; kill -9 "$1" 2>/dev/null', 'guard', String(child.pid)], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  watcher.unref();
  watcher.stdin.unref?.();
  return () => watcher.kill('SIGKILL');
}
