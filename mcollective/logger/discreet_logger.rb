# frozen_string_literal: true

require "mcollective/logger/file_logger"

module MCollective
  module Logger
    # Logs to a file, as mcollective's own does, but for what requests hold: mcollectived logs each one whole, and uploads and
    # commands hold passwords and keys.
    class Discreet_logger < File_logger
      # Who asks which agent, then a colon and the whole request.
      REQUEST = /\A(Handling message \S+ for agent '\S+' in collective '\S+' from \S+): .*\z/m.freeze

      def log(level, from, msg)
        words = msg.to_s
        super(level, from, words.sub(REQUEST) { "#{Regexp.last_match(1)}#{action(words)}" })
      end

      private

      def action(words)
        name = words[/:action=>"(\w+)"/, 1]
        name ? ", action '#{name}'" : ""
      end
    end
  end
end
