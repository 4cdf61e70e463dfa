# frozen_string_literal: true

require "fileutils"
require "yaml"

module MCollective
  module Agent
    # Applies a manifest in the background and tells how it goes: the way in which Fuel 10 has a node provisioned.
    class Puppetd < RPC::Agent
      FOLDER = "/run/bedplate-puppet"
      # Number and start of the process that runs, which no other process shares.
      PROCESS = "#{FOLDER}/process"
      DISABLED = "#{FOLDER}/disabled"
      SUMMARY = "#{FOLDER}/last_run_summary.yaml"
      LOG = "/var/log/puppet.log"
      # How long puppet may take to end its command and itself.
      GRACE = 30

      def startup_hook
        @puppet = @config.pluginconf.fetch("puppetd.puppet", "/usr/bin/puppet")
      end

      action "runonce" do
        alone do
          reply.fail!("puppet is #{status}") unless status == "stopped"
          reply[:output] = "started #{start.join(' ')}"
        end
      end

      action "last_run_summary" do
        reply[:status] = status
        summary = last_summary
        # Who polls takes a run without a summary for one that failed.
        reply[:resources] = { "failed" => 1, "changed" => 0, "total" => 0 }.merge(summary["resources"] || {})
        reply[:time] = { "last_run" => 0 }.merge(summary["time"] || {})
        [:events, :changes, :version].each { |part| reply[part] = summary[part.to_s] }
      end

      action "status" do
        reply[:status] = status
        reply[:running] = status == "running" ? 1 : 0
        reply[:enabled] = status == "disabled" ? 0 : 1
        reply[:stopped] = status == "stopped" ? 1 : 0
      end

      action "enable" do
        FileUtils.rm_f(DISABLED)
        reply[:output] = "enabled"
      end

      action "disable" do
        alone do
          reply.fail!("puppet is running") if status == "running"
          FileUtils.touch(DISABLED)
          reply[:output] = "disabled"
        end
      end

      action "stop_and_disable" do
        alone do
          stop
          FileUtils.touch(DISABLED)
          reply[:output] = "stopped and disabled"
        end
      end

      private

      # One request at a time looks whether puppet runs and changes that.
      def alone(&block)
        FileUtils.mkdir_p(FOLDER, :mode => 0o755)
        File.open("#{FOLDER}/lock", File::RDWR | File::CREAT, 0o600) do |file|
          file.flock(File::LOCK_EX)
          block.call
        end
      rescue SystemCallError => error
        reply.fail!("running puppet: #{error.message}")
      end

      def status
        return "running" if running
        return "disabled" if File.exist?(DISABLED)

        "stopped"
      end

      # The number of puppet's process, also when another daemon than this one started it.
      def running
        pid, start = File.read(PROCESS).split
        pid.to_i if start && start_of(pid) == start
      rescue Errno::ENOENT
        nil
      end

      # proc_pid_stat(5): behind the name in parentheses the state is the third field, the start the 22nd. A process that has
      # ended and waits for its parent runs no more.
      def start_of(pid)
        fields = File.read("/proc/#{pid}/stat").rpartition(")").last.split
        fields[19] unless fields[0] == "Z"
      rescue Errno::ENOENT, Errno::ESRCH
        nil
      end

      def start
        FileUtils.rm_f(SUMMARY)
        command = [@puppet, "apply", request.fetch(:manifest, "/etc/puppet/manifests/site.pp")]
        modules = request.fetch(:modules, "/etc/puppet/modules")
        command.push("--modulepath", modules, "--basemodulepath", modules, "--lastrunfile", SUMMARY)
        command.push("--reports", "none", "--trace", "--logdest", "syslog", "--logdest", LOG)
        command << "--noop" if request.fetch(:puppet_noop_run, false)
        command.push("--debug", "--evaltrace") if request.fetch(:puppet_debug, false)
        pid = Process.spawn({ "LC_ALL" => "C.UTF-8" }, *command, :chdir => request.fetch(:cwd, "/"),
                            :in => "/dev/null", :out => [LOG, "a"], :err => [:child, :out], :pgroup => true)
        File.write(PROCESS, "#{pid} #{start_of(pid)}\n")
        Process.detach(pid)
        command
      end

      def stop
        pid = running
        return unless pid

        Process.kill("TERM", -pid)
        GRACE.times { sleep(1) if running }
        Process.kill("KILL", -pid) if running
      rescue Errno::ESRCH
        Log.info("puppet, process #{pid}, ended by itself")
      end

      def last_summary
        YAML.safe_load(File.read(SUMMARY), :permitted_classes => [Symbol]) || {}
      rescue Errno::ENOENT, Psych::Exception
        {}
      end
    end
  end
end
