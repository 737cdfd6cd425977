"""A research pipeline of 23 stages with contracts, played through the gateway: how much is done again"""
