# frozen_string_literal: true

require "fileutils"
require "json"
require "tempfile"

module MCollective
  module Agent
    # Takes a node out of service: no disk of it starts any more, then it restarts. What lies on the disks stays.
    class Erase_node < RPC::Agent
      NO_DISCOVER_FILE = "/etc/nailgun-agent/nodiscover"
      SYSTEM_TYPE_FILE = "/etc/nailgun_systemtype"
      # The orchestrator must have its answer before the node is gone.
      SECONDS_TO_ANSWER = 5
      # A program that hangs in a dead disk cannot be ended. The node is to restart nevertheless, within the DDL's timeout.
      SECONDS_TO_ERASE = 25

      def startup_hook
        @bedplate = @config.pluginconf.fetch("erase_node.bedplate", "/usr/bin/bedplate")
        # Another folder in tests, whose machine is not to restart.
        @proc = @config.pluginconf.fetch("erase_node.proc", "/proc")
      end

      action "erase_node" do
        erase_node(request.fetch(:reboot, true), request.fetch(:dry_run, false))
      end

      action "reboot_node" do
        erase_node(true, false)
      end

      private

      # Without reboot the node is only kept from being discovered again while its place in the inventory is changed.
      def erase_node(reboot, dry_run)
        @done = []
        @faults = []
        reply[:erased] = false
        reply[:rebooted] = false
        attempt("stopping discovery") { stop_discovery } unless dry_run
        if reboot
          attempt("erasing boot sectors") { reply[:erased] = erase_boot_sectors(dry_run) }
          # A node whose disk could not be erased is restarted all the same: the network comes first, and decides.
          attempt("restarting") { reply[:rebooted] = restart } unless dry_run
        end
        reply[:status] = @faults.size
        reply[:error_msg] = @faults.join("; ") unless @faults.empty?
        reply[:debug_msg] = @done
      end

      def attempt(what)
        yield
      rescue StandardError => error
        Log.error("#{what}: #{error.message}")
        @faults << "#{what}: #{error.message}"
      end

      def note(words)
        Log.debug(words)
        @done << words
      end

      def stop_discovery
        FileUtils.mkdir_p(File.dirname(NO_DISCOVER_FILE))
        FileUtils.touch(NO_DISCOVER_FILE)
        note("made #{NO_DISCOVER_FILE}")
      end

      # Of an installed system the disks in use are the ones that are meant; in a bootstrap they are somebody else's.
      def erase_boot_sectors(dry_run)
        command = [@bedplate, "erase-node", "--json"]
        command << "--dry-run" if dry_run
        command << "--in-use" if system_type == "target"
        out, err, status = run(command)
        tell(out)
        raise "#{command.join(' ')}: #{fault(err, status)}" unless status&.success?

        !dry_run
      end

      # Standard output and error, and how it ended; no end when it did not.
      def run(command)
        Tempfile.create("out") do |out|
          Tempfile.create("err") do |err|
            waiter = Process.detach(Process.spawn(*command, :in => "/dev/null", :out => out, :err => err))
            ended = waiter.join(SECONDS_TO_ERASE)
            [File.read(out), File.read(err), ended&.value]
          end
        end
      end

      def tell(out)
        return if out.empty?

        JSON.parse(out).fetch("disks").each do |disk|
          note([disk["device"], disk["outcome"], disk["reason"]].compact.join(": "))
        end
      end

      def fault(err, status)
        ending = if status.nil? then "no end within #{SECONDS_TO_ERASE} s"
                 elsif status.exitstatus then "exit code #{status.exitstatus}"
                 else "signal #{status.termsig}"
                 end
        "#{err.strip.gsub("\n", '; ')} (#{ending})"
      end

      def system_type
        File.read(SYSTEM_TYPE_FILE).strip
      rescue Errno::ENOENT
        nil
      end

      # Through the kernel, for nothing that hangs on a dying node may keep it: a restart at once, and a panic that does not
      # wait for a person. It runs by itself: the daemon may end first.
      def restart
        { "kernel/sysrq" => "1", "kernel/panic_on_oops" => "1", "kernel/panic" => "10" }.each do |key, value|
          File.write("#{@proc}/sys/#{key}", value)
        end
        trigger = "#{@proc}/sysrq-trigger"
        raise "#{trigger}: not writable" unless File.writable?(trigger)

        pid = Process.spawn("/bin/sh", "-c", "sleep #{SECONDS_TO_ANSWER}; echo b >#{trigger}",
                            :in => "/dev/null", :out => "/dev/null", :err => "/dev/null", :pgroup => true)
        Process.detach(pid)
        note("restarting in #{SECONDS_TO_ANSWER} s")
        true
      end
    end
  end
end
