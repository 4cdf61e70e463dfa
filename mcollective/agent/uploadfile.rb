# frozen_string_literal: true

require "fileutils"
require "securerandom"

module MCollective
  module Agent
    # Writes a file that the orchestrator sends. A reader finds the old file or the new one, never a part.
    class Uploadfile < RPC::Agent
      action "upload" do
        upload
      end

      private

      def upload
        path = request[:path]
        folder = File.dirname(path)
        reply.fail!("#{path}: not an absolute path") unless path.start_with?("/")
        reply.fail!("#{path}: a folder is there") if File.directory?(path)
        reply.fail!("#{path}: it exists, and overwrite is not set") if File.exist?(path) && !request[:overwrite]
        reply.fail!("#{folder}: no such folder, and parents is not set") if !File.directory?(folder) && !request[:parents]
        make_folders(folder)
        replace(path)
        reply[:msg] = "File was uploaded!"
      rescue SystemCallError, ArgumentError => error
        # ArgumentError: an owner or a group that nobody has. The content, which may hold secrets, is in neither message.
        reply.fail!("writing #{path}: #{error.message}")
      end

      # Folders that are there keep their mode: orchestrators send one for /tmp as well.
      def make_folders(folder)
        missing = []
        until File.directory?(folder)
          missing.unshift(folder)
          folder = File.dirname(folder)
        end
        missing.each do |made|
          Dir.mkdir(made)
          File.chmod(request.fetch(:dir_permissions, "0755").to_i(8), made)
        end
      end

      # The name is new and nobody else can read the file until it is whole, whoever may write to the folder.
      def replace(path)
        unfinished = "#{path}.#{SecureRandom.hex(8)}"
        File.open(unfinished, File::WRONLY | File::CREAT | File::EXCL | File::NOFOLLOW | File::BINARY, 0o600) do |file|
          file.write(request[:content])
          file.fsync
        end
        FileUtils.chown(request.fetch(:user_owner, "root"), request.fetch(:group_owner, "root"), unfinished)
        File.chmod(request.fetch(:permissions, "0644").to_i(8), unfinished)
        File.rename(unfinished, path)
      ensure
        FileUtils.rm_f(unfinished)
      end
    end
  end
end
