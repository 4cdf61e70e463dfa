# frozen_string_literal: true

module MCollective
  module Agent
    # Tells what system a node runs, by which an orchestrator sees that a node came up from its disk.
    class Systemtype < RPC::Agent
      FILE = "/etc/nailgun_systemtype"

      action "get_type" do
        reply[:node_type] = File.read(FILE)
      rescue SystemCallError => error
        reply.fail!("reading #{FILE}: #{error.message}")
      end
    end
  end
end
