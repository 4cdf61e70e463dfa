# frozen_string_literal: true

require "tempfile"

module MCollective
  module Agent
    # Runs a command of the shell. MCollective::Shell would do it through ruby-systemu, which loses the exit code of every
    # command under Ruby 3.1.
    class Execute_shell_command < RPC::Agent
      # How long a command may run: as long as Astute waits for a node to be provisioned. The DDL's timeout, Fuel's, is shorter;
      # it tells clients how long to wait unless they know better.
      SECONDS = 5400
      # How long a command that is ended may take to clean up.
      GRACE = 10
      # What is kept of each stream: a command that writes without end must not take the daemon's memory.
      KEPT = 1 << 20

      def startup_hook
        @seconds = Integer(@config.pluginconf.fetch("execute_shell_command.seconds", SECONDS))
        # mcollectived drops an action that takes longer, and answers nothing.
        @timeout = @seconds + (2 * GRACE)
      end

      action "execute" do
        execute(request[:cmd], request.fetch(:cwd, "/tmp"))
      end

      private

      # Streams go to files: a pipe would stay open, and the answer wait, as long as something that the command left running
      # in the background.
      def execute(command, folder)
        Tempfile.create("stdout") do |out|
          Tempfile.create("stderr") do |err|
            reply[:exit_code] = exit_code(run(command, folder, out, err))
            reply[:stdout] = tail(out)
            reply[:stderr] = tail(err)
          end
        end
      rescue SystemCallError => error
        reply.fail!("running the command in #{folder}: #{error.message}")
      end

      # A group of its own: it is ended with its children, and a signal that is meant for the daemon does not reach it.
      def run(command, folder, out, err)
        pid = Process.spawn({ "LC_ALL" => "C" }, "/bin/sh", "-c", command,
                            :chdir => folder, :in => "/dev/null", :out => out, :err => err, :pgroup => true)
        waiter = Process.detach(pid)
        finish(pid, waiter) unless waiter.join(@seconds)
        waiter.value
      end

      def finish(pid, waiter)
        Log.warn("ending the command of process #{pid}: it runs longer than #{@seconds} s")
        Process.kill("TERM", -pid)
        Process.kill("KILL", -pid) unless waiter.join(GRACE)
      rescue Errno::ESRCH
        Log.info("the command of process #{pid} ended by itself")
      end

      # As shells tell it.
      def exit_code(status)
        status.exitstatus || (128 + status.termsig)
      end

      def tail(file)
        size = file.size
        file.seek([size - KEPT, 0].max)
        text = file.read.force_encoding(Encoding::UTF_8).scrub("?")
        size > KEPT ? "[#{size - KEPT} bytes left out]\n#{text}" : text
      end
    end
  end
end
